"""The reranker agent: keeps the passages that the replica's model holds likeliest to answer."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from ..backends.protocol import AnswerRequest, AnswerResult
from ..sla.errors import SlaragError, UnpricedCallError
from ..sla.evidence import Passage
from .branch import HasContext, finish, is_over, passages_of, reading_of
from .context import RunContext
from .events import PassagesEvent
from .state import QueryState


class Reranker:
    """Scores a replica's candidates by `AnswerResult.answerability` and keeps what its reasoner will read.

    The reasoner reads the kept ones again: what is an answer among three times as many passages need not be one among
    the best, and the embedded reader remembers the pairs, so the second reading is free there. Until it has read, what
    the scoring call answered stands in for it.
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
            result = await self._score(context, candidates)
        except UnpricedCallError:
            raise
        except SlaragError as error:
            return finish(self.replica, context, candidates, error=error, began=began)
        if result is None:
            return finish(self.replica, context, candidates, began=began)
        context.clock("rerank", began)
        context.provisional[self.replica] = reading_of(self.replica, context, candidates, result=result, began=began)
        return {"passages": {self.replica: self._keep(context, candidates, result)}}

    async def _score(self, context: RunContext, candidates: tuple[Passage, ...]) -> AnswerResult | None:
        request = AnswerRequest(
            question=context.question,
            passages=candidates,
            kind=context.kind,
            deadline=context.budget.deadline,
            compute_budget=context.plan.compute_budget,
            compute_floor=context.compute_floor,
        )
        backend = context.models.reader(context.plan.replica(self.replica).model)
        return await context.models.answer(backend, request, context.race.settled)

    def _keep(self, context: RunContext, candidates: Sequence[Passage], result: AnswerResult) -> tuple[Passage, ...]:
        score = result.answerability
        ranked = sorted(candidates, key=lambda passage: -score.get(passage.passage_id, 0.0))
        found = tuple(replace(passage, score=score.get(passage.passage_id, 0.0)) for passage in ranked)
        kept = found[: context.plan.replica(self.replica).passages]
        context.found[self.replica] = found
        method = context.method(self.replica)
        context.emit(PassagesEvent(replica=self.replica, hop=0, query=context.question, method=method, passages=kept))
        return kept
