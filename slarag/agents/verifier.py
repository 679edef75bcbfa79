"""The verifier agent: checks the best answer and rules on it."""

from __future__ import annotations

import time

from ..backends.protocol import Backend, VerifyRequest, VerifyResult
from ..sla.errors import BackendError, CostCapError
from .arbitration import settle
from .branch import HasContext, by_replica
from .context import RunContext
from .events import VerdictEvent
from .quotes import evidence_of
from .state import Contender, QueryState
from .verdict import best_cited, raise_if_all_failed, rule


class Verifier:
    """Accepts the best answer whose quotes stand in their sources, asks for a larger plan, or abstains."""

    async def __call__(self, state: QueryState, runtime: HasContext) -> QueryState:
        """Adds the verdict. Raises the first replica's error when every replica failed."""
        context = runtime.context
        began = time.monotonic()
        readings = by_replica(state)
        raise_if_all_failed(readings, context.budget)
        settlement = state.get("settlement") or settle(context.plan.arbitration, readings)
        cited = best_cited(settlement, context.retriever)
        support = await _support(context, cited.contender) if cited else None
        verdict = rule(context, readings, settlement, cited, support)
        context.clock("verify", began)
        context.emit(VerdictEvent.of(verdict))
        return {"verdict": verdict}


async def _support(context: RunContext, contender: Contender) -> VerifyResult | None:
    """The support check, if the plan asks for one and a model can; a model that fails leaves the answer unchecked."""
    if context.plan.verification != "support":
        return None
    backend = _verifier_for(contender, context)
    if backend is None:
        return None
    request = VerifyRequest(
        question=context.question,
        answer=contender.candidate.text,
        evidence=evidence_of(contender),
        deadline=context.budget.deadline,
        compute_budget=context.plan.compute_budget,
        compute_floor=context.compute_floor,
    )
    try:
        return await context.models.verify(backend, request)
    except (BackendError, CostCapError):
        return None


def _verifier_for(contender: Contender, context: RunContext) -> Backend | None:
    """A model that did not write the answer, if there is one: nobody is the best judge of their own words."""
    verifiers = context.models.verifiers()
    others = [backend for backend in verifiers if backend.name != contender.reading.backend]
    return next(iter([*others, *verifiers]), None)
