"""From what a query came to, to its answer and report."""

from __future__ import annotations

from dataclasses import dataclass, field

from .agents.state import Verdict
from .parts import UNKNOWN_INTENT
from .sla.answer import Answer
from .sla.budget import Budget
from .sla.decision import Decision
from .sla.evidence import Passage
from .sla.expected_f1 import ExpectedF1
from .sla.intents import IntentPrediction
from .sla.profile import Profile
from .sla.report import Measured, report

NOTHING = Verdict(outcome="abstain", text="", confidence=0.0, citations=(), passages=(), features=None)


@dataclass(kw_only=True, slots=True)
class Outcome:
    """What is known of a query.

    retrieved: what the last round's first replica found. is_late: whether its deadline ended it. reason: why nothing
    was read, if so.
    """

    intent: IntentPrediction = UNKNOWN_INTENT
    decisions: list[Decision] = field(default_factory=list[Decision])
    verdicts: list[Verdict] = field(default_factory=list[Verdict])
    timings_ms: dict[str, float] = field(default_factory=dict[str, float])
    retrieved: tuple[Passage, ...] = ()
    is_late: bool = False
    reason: str = ""

    @property
    def best(self) -> Verdict:
        """The verdict with the highest confidence of those that nothing speaks against, else of all.

        Of equals it is the last, which had the larger plan.
        """
        return max(
            reversed(self.verdicts),
            key=lambda verdict: (bool(verdict.text) and not verdict.reason, verdict.confidence),
            default=NOTHING,
        )


def answer_of(question: str, profile: Profile, outcome: Outcome, budget: Budget, expected_f1: ExpectedF1) -> Answer:
    """The answer of a query that has ended, with its report."""
    best = outcome.best
    is_given = bool(best.text) and not (best.reason and profile.abstention.allowed)
    latency_ms = budget.elapsed_s() * 1000
    usd = None if any(charge.usd is None for charge in budget.charges) else budget.spent_usd
    measured = Measured(
        latency_ms=latency_ms,
        usd=usd,
        expected_f1=expected_f1.at(best.confidence),
        wrong_answer_probability=1 - best.confidence,
        abstained=not is_given,
    )
    return Answer(
        question=question,
        text=best.text if is_given else "",
        abstained=not is_given,
        abstain_reason="" if is_given else _why(profile, outcome),
        best_text=best.text,
        confidence=best.confidence,
        citations=best.citations,
        intent=outcome.intent,
        decisions=tuple(outcome.decisions),
        report=report(profile, measured),
        usd=usd,
        device_seconds=budget.device_seconds,
        reused_readings=budget.reused_readings,
        timings_ms={**outcome.timings_ms, "total": latency_ms},
        passages=best.passages,
        retrieved=outcome.retrieved,
        profile=profile.name,
        features=best.features,
    )


def _why(profile: Profile, outcome: Outcome) -> str:
    """One sentence; the deadline is named when it is what kept an answer from being found."""
    if outcome.best.text:
        return outcome.best.reason
    latency = profile.objectives.latency
    if outcome.is_late and latency is not None:
        return f"the deadline of {latency.deadline_ms:g} ms passed before an answer was found"
    return outcome.reason or outcome.best.reason or "no answer was found"
