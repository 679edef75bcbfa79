"""What a policy sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """A pool at a moment, and its last interval.

    now: seconds. devices: that serve, or will when the resize that runs is done. waiting: requests before their first
    token. running: requests after it. arrivals, input_tokens, output_tokens: of the interval; output_tokens are those
    that were produced. interval_s: its length. is_resizing: a resize runs.
    """

    now: float
    devices: int
    waiting: int
    running: int
    arrivals: int
    input_tokens: int
    output_tokens: int
    interval_s: float
    is_resizing: bool = False


class Policy(Protocol):
    """Says how many devices there should be. Called once an interval; keeps its own history."""

    def decide(self, seen: Observation) -> int:
        """The number of devices to have; the present one to change nothing."""
        ...
