"""What demand will be when a resize that is asked for now is done."""

from __future__ import annotations

import math
from collections import deque
from statistics import NormalDist


class Forecast:
    """Level and trend by Holt's method, and an upper bound from the errors of its own earlier forecasts.

    level_weight, trend_weight: of the newest value. memory: errors that count. (Holt, 1957; Hyndman and Athanasopoulos,
    Forecasting: Principles and Practice, section 8.2, with a damped trend.)
    """

    def __init__(self, *, level_weight: float = 0.4, trend_weight: float = 0.1, damping: float = 0.8, memory: int = 60):
        self._level_weight = level_weight
        self._trend_weight = trend_weight
        self._damping = damping
        self._errors: deque[float] = deque(maxlen=memory)
        self._level: float | None = None
        self._trend = 0.0

    def observe(self, value: float) -> None:
        """Take the newest value."""
        if self._level is None:
            self._level = value
            return
        expected = self.mean(1)
        self._errors.append(value - expected)
        before = self._level
        self._level = expected + self._level_weight * (value - expected)
        change = self._level - before
        self._trend = self._damping * self._trend + self._trend_weight * (change - self._damping * self._trend)

    def mean(self, steps: float) -> float:
        """The expected value `steps` intervals ahead, never negative."""
        if self._level is None:
            return 0.0
        reach = sum(self._damping**k for k in range(1, math.ceil(steps) + 1))
        return max(0.0, self._level + self._trend * reach)

    def upper(self, steps: float, share: float) -> float:
        """What the value stays under with probability `share`, if its errors are normal."""
        if len(self._errors) < 2:
            return self.mean(steps)
        spread = math.sqrt(sum(error * error for error in self._errors) / len(self._errors))
        return self.mean(steps) + NormalDist().inv_cdf(share) * spread
