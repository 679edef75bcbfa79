"""Several agents of one replica as one node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from .branch import HasContext
from .state import QueryState, merge


class Agent(Protocol):
    """What a node of the graph runs."""

    async def __call__(self, state: QueryState, runtime: HasContext) -> QueryState:
        """The update of the state."""
        ...


class InSequence:
    """Runs agents one after the other, each on what the one before it wrote.

    Nodes of parallel branches start together: as nodes of their own, a replica's second model call would wait for the
    slowest first call of all replicas. As one node it waits for its own only.
    """

    def __init__(self, *agents: Agent) -> None:
        self.agents: Sequence[Agent] = agents

    async def __call__(self, state: QueryState, runtime: HasContext) -> QueryState:
        """The updates of all agents, merged."""
        update: QueryState = {}
        for agent in self.agents:
            update = _merged(update, await agent(_merged(state, update), runtime))
        return update


def _merged(old: QueryState, new: QueryState) -> QueryState:
    state: QueryState = {**old, **new}
    if "passages" in old and "passages" in new:
        state["passages"] = merge(old["passages"], new["passages"])
    if "readings" in old and "readings" in new:
        state["readings"] = merge(old["readings"], new["readings"])
    return state
