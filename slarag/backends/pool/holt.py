"""Level and trend of a series, for the reference policy that predicts a rate."""

from __future__ import annotations


class Holt:
    """Holt's method with a damped trend (Hyndman and Athanasopoulos, Forecasting: Principles and Practice, 8.2)."""

    def __init__(self, *, level_weight: float = 0.4, trend_weight: float = 0.1, damping: float = 0.8) -> None:
        self._level_weight = level_weight
        self._trend_weight = trend_weight
        self._damping = damping
        self._level: float | None = None
        self._trend = 0.0

    def observe(self, value: float) -> None:
        """Take the newest value."""
        if self._level is None:
            self._level = value
            return
        before, expected = self._level, self.next
        self._level = expected + self._level_weight * (value - expected)
        damped = self._damping * self._trend
        self._trend = damped + self._trend_weight * (self._level - before - damped)

    @property
    def next(self) -> float:
        """The value that is expected after the newest, never negative."""
        return 0.0 if self._level is None else max(0.0, self._level + self._damping * self._trend)
