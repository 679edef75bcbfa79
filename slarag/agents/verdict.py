"""The verdict as pure functions: from what the agents saw to a confidence and a ruling."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..backends.protocol import VerifyResult
from ..retrievers.protocol import PassageRetriever
from ..sla.budget import Budget
from ..sla.confidence import ConfidenceFeatures
from ..sla.errors import BackendTimeoutError, CostCapError, SlaragError
from ..sla.evidence import Citation
from ..sla.matching import normalise_answer
from .arbitration import settle
from .context import RunContext
from .quotes import citations_of
from .state import Contender, Outcome, Reading, Settlement, Verdict
from .text import coverage

NEARLY_OVER = 0.1
"""Share of the time to the deadline in which a time-out is taken for the deadline's."""


@dataclass(frozen=True, slots=True)
class Cited:
    """An answer with at least one quote that stands in its source."""

    contender: Contender
    citations: tuple[Citation, ...]


def best_cited(settlement: Settlement, retriever: PassageRetriever) -> Cited | None:
    """The first answer of the ranking that a quote bears out; None if there is none."""
    for contender in settlement.ranking:
        if citations := citations_of(contender, retriever):
            return Cited(contender, citations)
    return None


def raise_if_all_failed(readings: Sequence[Reading], budget: Budget) -> None:
    """Raise the first error when no replica has a result, unless the query's own limits are what ended them all."""
    errors = [(reading.error, reading.finished_at) for reading in readings if reading.error is not None]
    if len(errors) < len(readings):
        return
    for error, at in errors:
        if not _own_limit(error, at, budget):
            raise error


def rule(
    context: RunContext,
    readings: Sequence[Reading],
    settlement: Settlement,
    cited: Cited | None,
    support: VerifyResult | None,
) -> Verdict:
    """The verdict on `cited` with the model's `support` check, None when there was none."""
    if cited is None:
        return _no_answer(context, readings, settlement)
    features = features_of(context, readings, settlement, cited.contender, support)
    confidence = context.confidence.probability(features)
    doubt = _doubt(context, confidence, features.no_answer)
    outcome = _outcome(context, doubt)
    return Verdict(
        outcome=outcome,
        text=cited.contender.candidate.text,
        confidence=confidence,
        citations=cited.citations,
        passages=cited.contender.reading.passages,
        features=features,
        reason="" if outcome == "accept" else doubt,
    )


def verdict_so_far(context: RunContext) -> Verdict | None:
    """The verdict on what has been read until now, without asking a model; None before the first answer."""
    readings = context.readings_so_far()
    if not readings:
        return None
    settlement = settle(context.plan.arbitration, readings)
    return rule(context, readings, settlement, best_cited(settlement, context.retriever), None)


def features_of(
    context: RunContext,
    readings: Sequence[Reading],
    settlement: Settlement,
    contender: Contender,
    support: VerifyResult | None,
) -> ConfidenceFeatures:
    """What the confidence is computed from."""
    results = [reading.result for reading in readings if reading.result is not None]
    top = contender.candidate.probability
    return ConfidenceFeatures(
        top=_unit(top),
        margin=_unit(top - _runner_up(contender)),
        no_answer=_unit(sum(result.no_answer for result in results) / len(results)) if results else 1.0,
        agreement=_unit(settlement.agreement),
        supported=_unit(support.supported) if support else 0.0,
        refuted=_unit(support.refuted) if support else 0.0,
        verified=support is not None,
        kind=context.kind,
        intent=context.intent.top,
        chained=_unit(context.intent.probabilities["multi_hop"]),
        given=context.given,
        passages=max(1, len(contender.reading.passages)),
        coverage=_coverage(context.question, contender),
    )


def _coverage(question: str, contender: Contender) -> float:
    """How much of the question the passages that bear the answer out speak of; the best of them counts."""
    bearing = {span.passage_id for span in contender.candidate.spans}
    shares = [coverage(question, passage) for passage in contender.reading.passages if passage.passage_id in bearing]
    return max(shares, default=0.0)


def _no_answer(context: RunContext, readings: Sequence[Reading], settlement: Settlement) -> Verdict:
    passages = next((reading.passages for reading in readings if reading.passages), ())
    return Verdict(
        outcome="escalate" if _may_escalate(context) else "abstain",
        text="",
        confidence=0.0,
        citations=(),
        passages=passages,
        features=None,
        reason=_why_nothing(readings, settlement),
    )


def _why_nothing(readings: Sequence[Reading], settlement: Settlement) -> str:
    if settlement.ranking:
        return "no answer was borne out by a quote from its source"
    errors = [reading.error.message for reading in readings if reading.error is not None]
    if errors:
        return errors[0]
    return "no passage was found" if not any(reading.passages for reading in readings) else "no answer in the passages"


def _doubt(context: RunContext, confidence: float, no_answer: float) -> str:
    """Why the answer should be withheld; empty if it should not.

    Beside the profile's threshold: an answer that is less likely right than there being none at all.
    """
    threshold = context.profile.abstention.below_confidence
    if confidence < threshold:
        return f"confidence {confidence:.2f} is under the profile's {threshold:.2f}"
    if threshold > 0 and confidence < no_answer:
        return f"that there is no answer ({no_answer:.2f}) is likelier than that this one is right ({confidence:.2f})"
    return ""


def _outcome(context: RunContext, doubt: str) -> Outcome:
    if not doubt:
        return "accept"
    if _may_escalate(context):
        return "escalate"
    return "abstain" if context.profile.abstention.allowed else "accept"


def _may_escalate(context: RunContext) -> bool:
    return context.escalations > 0 and not context.budget.expired and context.models.capped is None


def _runner_up(contender: Contender) -> float:
    """The best probability that the same reading gives to another answer."""
    own = normalise_answer(contender.candidate.text)
    candidates = contender.reading.result.candidates if contender.reading.result else ()
    return max((c.probability for c in candidates if normalise_answer(c.text) != own), default=0.0)


def _own_limit(error: SlaragError, at: float, budget: Budget) -> bool:
    """Whether the query's money or time ended a replica; a backend that times out while there is time has failed."""
    if isinstance(error, CostCapError):
        return True
    if budget.deadline is None or not isinstance(error, BackendTimeoutError):
        return False
    return budget.deadline - at <= NEARLY_OVER * (budget.deadline - budget.opened_at)


def _unit(value: float) -> float:
    return min(1.0, max(0.0, value))
