"""Decisions: the plan chosen for a question, what it was chosen over, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from .plan import Plan
from .prediction import Prediction

Objective = Literal["latency", "cost", "quality", "risk"]


class Option(NamedTuple):
    """A plan that meets every objective, and what it is expected to do."""

    plan: Plan
    prediction: Prediction

    def to_dict(self) -> dict[str, Any]:
        """The plan's key and its prediction."""
        return {"plan": self.plan.key, "prediction": self.prediction.to_dict()}


class Rejection(NamedTuple):
    """A plan that misses an objective.

    objective: the one it misses most. excess: by how much, as a share of the target (latency, cost) or in shares of 1
    (quality, risk).
    """

    plan: Plan
    prediction: Prediction
    objective: Objective
    excess: float

    def to_dict(self) -> dict[str, Any]:
        """The plan's key, its prediction, and what it misses."""
        return {
            "plan": self.plan.key,
            "objective": self.objective,
            "excess": self.excess,
            "prediction": self.prediction.to_dict(),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """The chosen plan.

    plan: its `escalations` say whether a larger plan would still fit the objectives after it. prediction: of its
    first run. feasible: the plans that meet every objective, best first. rejected: the others, nearest first.
    binding: the objective that kept a better plan out, or, for the nearest offer, the one that is missed most; None
    when nothing bound. reason: one sentence. is_nearest_offer: whether no plan met every objective. The mapper's
    `feasible` and `rejected` are tuples that are spelled out when they are first read, so that a query does not pay
    for them.
    """

    plan: Plan
    prediction: Prediction
    feasible: Sequence[Option]
    rejected: Sequence[Rejection]
    binding: str | None
    reason: str
    is_nearest_offer: bool

    def to_dict(self, *, alternatives: bool = True) -> dict[str, Any]:
        """Plain JSON values; without `alternatives` the other plans are only counted."""
        head: dict[str, Any] = {
            "plan": self.plan.to_dict(),
            "plan_key": self.plan.key,
            "prediction": self.prediction.to_dict(),
            "binding": self.binding,
            "reason": self.reason,
            "is_nearest_offer": self.is_nearest_offer,
            "feasible_count": len(self.feasible),
            "rejected_count": len(self.rejected),
        }
        if alternatives:
            head["feasible"] = [option.to_dict() for option in self.feasible]
            head["rejected"] = [rejection.to_dict() for rejection in self.rejected]
        return head
