"""The reranker agent: keeps the passages that the replica's model holds likeliest to answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from ..backends.protocol import AnswerRequest
from ..sla.errors import SlaragError, UnpricedCallError
from ..sla.evidence import Passage
from .branch import HasContext, finish, is_over, passages_of
from .context import RunContext
from .events import PassagesEvent
from .state import QueryState


class Reranker:
    """Scores a replica's candidates by `AnswerResult.answerability` and keeps what its reasoner will read.

    The reasoner reads the kept ones again: what is an answer among three times as many passages need not be one among the
    best, and the embedded reader remembers the pairs, so the second reading is free there.
    """

    def __init__(self, replica: int) -> None:
        self.replica = replica

    async def __call__(self, state: QueryState, runtime: HasContext) -> QueryState:
        """Replaces the replica's passages by the best of them."""
        context = runtime.context
        candidates = passages_of(self.replica, state)
        if is_over(self.replica, state) or not candidates:
            return {}
        began = time.monotonic()
        try:
            kept = await self._best(context, candidates)
        except UnpricedCallError:
            raise
        except SlaragError as error:
            return finish(self.replica, context, candidates, error=error, began=began)
        if kept is None:
            return finish(self.replica, context, candidates, began=began)
        context.clock("rerank", began)
        method = context.plan.replica(self.replica).retrieval
        context.emit(
            PassagesEvent(replica=self.replica, hop=0, query=context.question, method=method, passages=kept)
        )
        return {"passages": {self.replica: kept}}

    async def _best(self, context: RunContext, candidates: Sequence[Passage]) -> tuple[Passage, ...] | None:
        settings = context.plan.replica(self.replica)
        request = AnswerRequest(
            question=context.question, passages=tuple(candidates), n_best=1, deadline=context.budget.deadline
        )
        result = await context.models.answer(context.models.reader(settings.model), request, context.race.settled)
        if result is None:
            return None
        scored = [replace(p, score=result.answerability.get(p.passage_id, 0.0)) for p in candidates]
        return tuple(sorted(scored, key=lambda passage: -passage.score)[: settings.passages])
