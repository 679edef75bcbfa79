"""Rises of demand that no forecast saw coming: how often they come, and how far they go."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from .forecast import Estimate

_DEVIATIONS = 4.0
_LEARNING = 12
_REMEMBERED = 720
_MOST_SHARE = 0.1


@dataclass(slots=True)
class Jumps:
    """Measured rates that lay far beyond their forecast; not in the first intervals, when nothing is known."""

    _rates: deque[float] = field(default_factory=lambda: deque[float](maxlen=_REMEMBERED))
    _seen: int = 0

    def observe(self, rate: float, expected: Estimate, noise: float) -> None:
        """Take a measured rate, its forecast, and the variance of its noise."""
        self._seen += 1
        is_jump = rate > expected.mean + _DEVIATIONS * math.sqrt(expected.sd**2 + noise)
        self._rates.append(rate if is_jump and self._seen > _LEARNING else 0.0)

    def share_of_time(self, intervals: float) -> float:
        """The share of time within so many intervals after a jump."""
        if not self._rates:
            return 0.0
        return min(_MOST_SHARE, intervals * sum(rate > 0 for rate in self._rates) / len(self._rates))

    @property
    def rate(self) -> float:
        """Where they went, on average; 0 when there was none."""
        jumps = [rate for rate in self._rates if rate]
        return sum(jumps) / len(jumps) if jumps else 0.0
