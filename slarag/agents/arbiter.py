"""The arbiter agent: settles what the replicas read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import replace

from ..backends.protocol import Backend, VerifyRequest
from ..sla.errors import BackendError, CostCapError
from ..sla.work import JUDGED
from .arbitration import agreement_with, settle
from .branch import HasContext, by_replica
from .context import RunContext
from .quotes import evidence_of
from .state import Contender, QueryState, Settlement


class Arbiter:
    """Ranks the replicas' answers as the plan says; a jury of fewer than two models leaves it to their confidence."""

    async def __call__(self, state: QueryState, runtime: HasContext) -> QueryState:
        """Adds the settlement."""
        context = runtime.context
        began = time.monotonic()
        settlement = settle(context.plan.arbitration, by_replica(state))
        jurors = context.models.verifiers()
        if context.plan.arbitration == "jury" and len(jurors) > 1 and len(settlement.ranking) > 1:
            settlement = await _judged(context, jurors, settlement)
        context.clock("arbitrate", began)
        return {"settlement": settlement}


async def _judged(context: RunContext, jurors: Sequence[Backend], settlement: Settlement) -> Settlement:
    """The settlement with its first answers in the order of the jury's mean support; ties keep their order."""
    judged, rest = settlement.ranking[:JUDGED], settlement.ranking[JUDGED:]
    scores = await asyncio.gather(*(_support(context, jurors, contender) for contender in judged))
    if all(score is None for score in scores):
        return settlement
    scored = [replace(contender, weight=score or 0.0) for contender, score in zip(judged, scores, strict=True)]
    ranking = (*sorted(scored, key=lambda contender: -contender.weight), *rest)
    return replace(settlement, ranking=ranking, agreement=agreement_with(ranking[0], context.race.readings))


async def _support(context: RunContext, jurors: Sequence[Backend], contender: Contender) -> float | None:
    """Mean probability of support by the jurors that did not give the answer themselves; None if none could say."""
    others = [juror for juror in jurors if juror.name != contender.reading.backend]
    request = VerifyRequest(
        question=context.question,
        answer=contender.candidate.text,
        evidence=evidence_of(contender),
        deadline=context.budget.deadline,
        compute_budget=context.plan.compute_budget,
        compute_floor=context.compute_floor,
    )
    votes = await asyncio.gather(*(_vote(context, juror, request) for juror in others))
    heard = [vote for vote in votes if vote is not None]
    return sum(heard) / len(heard) if heard else None


async def _vote(context: RunContext, juror: Backend, request: VerifyRequest) -> float | None:
    try:
        return (await context.models.verify(juror, request)).supported
    except (BackendError, CostCapError):
        return None
