"""What a policy sees, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

PolicyName = Literal["forecast", "queue", "ongoing"]
"""Policies that need no tuning with hindsight: slarag's, a threshold on requests in flight, and a target for them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Switch:
    """A resize that was made.

    source and target: devices before and after. seconds: from the command until it was done. standbys: that were booted
    when it was asked for, None where the pool does not tell.
    """

    source: int
    target: int
    seconds: float
    standbys: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """A pool at a moment, and its last interval.

    now: seconds. devices: that serve, or will when the resize that runs is done. waiting: requests that no step has
    begun. running: requests that one has. arrivals, input_tokens, output_tokens: of the interval; output_tokens are
    those that were produced. finished: requests that ended in it; met: those of them that met their objectives.
    with_deadline: those that had a deadline; met_deadline: those that met it. interval_s: its length. cache_used: share
    of the devices' KV blocks that requests hold, 0 where nothing is told. is_resizing: a resize runs. switches: resizes
    that were done in the interval, oldest first.
    """

    now: float
    devices: int
    waiting: int
    running: int
    arrivals: int
    input_tokens: int
    output_tokens: int
    interval_s: float
    finished: int = 0
    met: int = 0
    with_deadline: int = 0
    met_deadline: int = 0
    cache_used: float = 0.0
    is_resizing: bool = False
    switches: tuple[Switch, ...] = ()


@dataclass(frozen=True, slots=True)
class Target:
    """What a pool should have.

    devices: that serve. standbys: booted processes without memory; None for as many as now.
    """

    devices: int
    standbys: int | None = None


class Policy(Protocol):
    """Says how large a pool should be. Called once an interval; keeps its own history."""

    def decide(self, seen: Observation) -> Target:
        """The size to have; the present one to change nothing."""
        ...
