"""What the agents of a replica's branch share."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from ..backends.protocol import AnswerResult
from ..sla.errors import SlaragError
from ..sla.evidence import Passage
from .context import RunContext
from .state import QueryState, Reading


class HasContext(Protocol):
    """The part of LangGraph's `Runtime` that agents use."""

    @property
    def context(self) -> RunContext:
        """The run context."""
        ...


def is_over(replica: int, state: QueryState) -> bool:
    """Whether the replica has its reading already, because it failed or was called off."""
    return replica in state.get("readings", {})


def passages_of(replica: int, state: QueryState) -> tuple[Passage, ...]:
    """What the replica's last agent handed on."""
    return state.get("passages", {}).get(replica, ())


def by_replica(state: QueryState) -> list[Reading]:
    """The readings in the order of their replicas, so that a ruling on them does not hang on which came first."""
    readings = state.get("readings", {})
    return [readings[replica] for replica in sorted(readings)]


def reading_of(
    replica: int,
    context: RunContext,
    passages: Sequence[Passage],
    *,
    result: AnswerResult | None = None,
    error: SlaragError | None = None,
    began: float | None = None,
) -> Reading:
    """A reading that ends now: a result, a failure, or neither when the race called it off."""
    now = time.monotonic()
    settings = context.plan.replica(replica)
    return Reading(
        replica=replica,
        retrieval=context.method(replica),
        backend=context.models.reader(settings.model).name,
        passages=tuple(passages),
        result=result,
        error=error,
        seconds=0.0 if began is None else now - began,
        finished_at=now,
    )


def finish(
    replica: int,
    context: RunContext,
    passages: Sequence[Passage],
    *,
    result: AnswerResult | None = None,
    error: SlaragError | None = None,
    began: float | None = None,
) -> QueryState:
    """End the replica's branch; what its reranker read stands in for a reasoner that failed."""
    reading = reading_of(replica, context, passages, result=result, error=error, began=began)
    if error is not None:
        reading = context.provisional.get(replica, reading)
    context.enter(reading)
    return {"readings": {replica: reading}}
