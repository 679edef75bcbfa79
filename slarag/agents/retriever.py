"""The retriever agent: one hop of one replica."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from itertools import chain, zip_longest

from ..sla.errors import RunError, SlaragError
from ..sla.evidence import Passage
from ..sla.work import RERANK_WIDTH
from .branch import HasContext, finish, is_over, passages_of
from .context import RunContext
from .events import PassagesEvent
from .state import QueryState
from .text import follow_up


class Retriever:
    """Fetches passages for `replica`; `hop` counts from 1, and from the second on what was found feeds the query."""

    def __init__(self, replica: int, hop: int) -> None:
        self.replica = replica
        self.hop = hop

    async def __call__(self, state: QueryState, runtime: HasContext) -> QueryState:
        """Adds this hop's passages to those of the hops before."""
        context = runtime.context
        if is_over(self.replica, state):
            return {}
        before = passages_of(self.replica, state)
        try:
            passages = await self._fetch(context, before)
        except SlaragError as error:
            return finish(self.replica, context, before, error=error)
        return {"passages": {self.replica: passages}}

    async def _fetch(self, context: RunContext, before: Sequence[Passage]) -> tuple[Passage, ...]:
        k = context.plan.replica(self.replica).passages * (RERANK_WIDTH if context.plan.rerank else 1)
        method, query = context.method(self.replica), self._query(context.question, before)
        vector = context.vector if query == context.question else None
        began = time.monotonic()
        try:
            found = await context.retriever.retrieve(query, method=method, k=k, vector=vector)
            passages = tuple(interleave([before, found]))[:k]
        except SlaragError:
            raise
        except Exception as error:
            what = f"{type(error).__name__}: {str(error)[:200]}"
            raise RunError(
                f"the retriever failed in hop {self.hop} of replica {self.replica}: {what}",
                remedy="check the retriever and its index",
            ) from error
        context.clock(f"retrieve_{self.hop}", began)
        context.found[self.replica] = passages
        context.emit(PassagesEvent(replica=self.replica, hop=self.hop, query=query, method=method, passages=passages))
        return passages

    def _query(self, question: str, before: Sequence[Passage]) -> str:
        """The question; from the second hop on, what the last hop's best passage leaves of it and brings to it."""
        newest = before[self.hop - 2 : self.hop - 1] if self.hop > 1 else ()
        return follow_up(question, newest[0]) if newest else question


def interleave(rankings: Sequence[Sequence[Passage]]) -> Iterator[Passage]:
    """The passages of all rankings, each once: all firsts, then all seconds, so that every ranking's best stay."""
    seen: set[str] = set()
    for passage in chain.from_iterable(zip_longest(*rankings)):
        if passage is not None and passage.passage_id not in seen:
            seen.add(passage.passage_id)
            yield passage
