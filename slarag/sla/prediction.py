"""Predictions: what a plan is expected to do, with how sure that is."""

from __future__ import annotations

from typing import NamedTuple


class Estimate(NamedTuple):
    """A value with the bounds of its 90 % interval, in the unit of the value; low <= mean <= high."""

    mean: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """The three numbers by name."""
        return {"mean": self.mean, "low": self.low, "high": self.high}


class Prediction(NamedTuple):
    """What a plan is expected to do for one question under given conditions.

    f1: token F1 of its best answer, in [0, 1]. wrong_answer_rate: wrong ones among the answers given, in [0, 1].
    latency_ms: the 95th percentile, milliseconds. usd: cost of the query, USD.
    """

    f1: Estimate
    wrong_answer_rate: Estimate
    latency_ms: Estimate
    usd: Estimate

    def to_dict(self) -> dict[str, dict[str, float]]:
        """The four estimates by name."""
        return {
            "f1": self.f1.to_dict(),
            "wrong_answer_rate": self.wrong_answer_rate.to_dict(),
            "latency_ms": self.latency_ms.to_dict(),
            "usd": self.usd.to_dict(),
        }
