"""What demand is now, and what it will be when a resize that is asked for now is done.

Counts over a few seconds are noisy, and how fast demand drifts differs between services. So several filters run side by
side, each of which assumes another drift, and they are weighed by how well they have predicted lately.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

_DRIFTS = (0.001, 0.003, 0.01, 0.03, 0.1)
_MEMORY = 0.98
_LEAST_WEIGHT = 1e-3
_LEAST_SHARE = 1e-3


@dataclass(frozen=True, slots=True)
class Estimate:
    """An expected value and the standard deviation of its error."""

    mean: float
    sd: float


@dataclass(slots=True)
class _LocalLevel:
    """A random walk seen through noise (Kalman, 1960; Harvey, Forecasting, Structural Time Series Models, ch. 2.3).

    drift: standard deviation of its change in a second, as a share of its level.
    """

    drift: float
    level: float
    variance: float
    log_weight: float = 0.0

    def observe(self, value: float, noise: float, seconds: float) -> None:
        expected = self.variance_after(seconds)
        total = expected + noise
        error = value - self.level
        self.log_weight = _MEMORY * self.log_weight - 0.5 * (math.log(total) + error * error / total)
        gain = expected / total
        self.level += gain * error
        self.variance = (1 - gain) * expected

    def variance_after(self, seconds: float) -> float:
        return self.variance + (self.drift * self.level) ** 2 * seconds


@dataclass(slots=True)
class Forecast:
    """The level of something positive that is measured with known noise, and its value in a while.

    guess: the level before anything is known; it is taken to be wrong by its own size.
    """

    guess: float
    _filters: list[_LocalLevel] = field(default_factory=list[_LocalLevel])

    def __post_init__(self) -> None:
        self._filters = [_LocalLevel(drift, self.guess, self.guess**2) for drift in _DRIFTS]

    def observe(self, value: float, noise: float, seconds: float) -> None:
        """Take a measured value with the variance of its noise; `seconds` have passed since the last."""
        for each in self._filters:
            each.observe(value, max(noise, (_LEAST_SHARE * each.level) ** 2, 1e-12), seconds)

    def after(self, seconds: float) -> Estimate:
        """The level that is expected after a while."""
        best = max(each.log_weight for each in self._filters)
        weights = [max(_LEAST_WEIGHT, math.exp(each.log_weight - best)) for each in self._filters]
        total = sum(weights)
        mean = sum(w * each.level for w, each in zip(weights, self._filters, strict=True)) / total
        square = sum(
            w * (each.variance_after(seconds) + (each.level - mean) ** 2)
            for w, each in zip(weights, self._filters, strict=True)
        )
        return Estimate(max(0.0, mean), math.sqrt(square / total))
