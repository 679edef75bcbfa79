"""Limits: what a profile's objectives come to for one question, at this point of its run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .decision import Objective
from .forecast import Forecast
from .profile import Profile

Vector = npt.NDArray[np.float64]

OBJECTIVES: tuple[Objective, ...] = ("latency", "cost", "quality", "risk")


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The bounds a plan must keep; None where nothing bounds. deadline_ms: what no plan should be expected to pass."""

    latency_ms: float | None = None
    deadline_ms: float | None = None
    usd: float | None = None
    min_f1: float | None = None
    max_wrong: float | None = None
    threshold: float = 0.0

    @classmethod
    def of(cls, profile: Profile, *, remaining_ms: float | None = None, remaining_usd: float | None = None) -> Limits:
        """The limits of `profile` when this much time to the deadline and this much money are left.

        The time that has passed (deadline less what remains) also counts against the p95 objective: an escalation may
        use only what its predecessors left of it.
        """
        goals = profile.objectives
        p95, deadline = remaining_ms, remaining_ms
        if goals.latency is not None:
            deadline = (
                goals.latency.deadline_ms if remaining_ms is None else min(remaining_ms, goals.latency.deadline_ms)
            )
            p95 = max(0.0, goals.latency.p95_ms - (goals.latency.deadline_ms - deadline))
        caps = [cap for cap in (goals.cost and goals.cost.usd_per_query, remaining_usd) if cap is not None]
        return cls(
            latency_ms=p95,
            deadline_ms=deadline,
            usd=min(caps) if caps else None,
            min_f1=goals.quality.min_f1 if goals.quality else None,
            max_wrong=goals.risk.max_wrong_answer_rate if goals.risk else None,
            threshold=profile.threshold,
        )

    def excess(self, forecast: Forecast) -> Vector:
        """By how much each plan misses each of `OBJECTIVES` [4, plans]; 0 where it is met.

        A plan meets an objective only if the unfavourable end of its estimate does. Time and money are relative to the
        limit, shares are absolute, so that the four compare.
        """
        excess = np.zeros((len(OBJECTIVES), forecast.f1.shape[1]))
        latency, cost, quality, risk = excess
        if self.latency_ms is not None:
            latency[:] = _over(forecast.latency_ms[2], self.latency_ms, 1.0)
        if self.usd is not None:
            cost[:] = _over(forecast.usd[2], self.usd, 1e-9)
        if self.min_f1 is not None:
            np.maximum(self.min_f1 - forecast.f1[1], 0.0, out=quality)
        if self.max_wrong is not None:
            np.maximum(forecast.wrong[2] - self.max_wrong, 0.0, out=risk)
        return excess

    def past_deadline(self, forecast: Forecast) -> Vector:
        """By how much each plan is expected to pass the deadline [plans], as a share of it."""
        if self.deadline_ms is None:
            return np.zeros(forecast.f1.shape[1])
        return _over(forecast.latency_ms[2], self.deadline_ms, 1.0)


def _over(value: Vector, limit: float, least: float) -> Vector:
    return np.maximum(value - limit, 0.0) / max(limit, least)
