"""How much a plan does: the order in which plans are larger, and what latency and cost grow with."""

from __future__ import annotations

from .plan import Plan

RERANK_POOL = 3
"""Candidates that are read for answerability per passage that is kept, when a plan reranks."""


def readings(plan: Plan) -> int:
    """Passages that the plan's models read when nothing stops it early: the unit of its device time."""
    per_hop = sum(plan.replica(index).passages for index in range(plan.replicas))
    return plan.hops * per_hop * (1 + RERANK_POOL * plan.rerank) + checks(plan)


def checks(plan: Plan) -> int:
    """Claims that the verifier asks the model about."""
    return int(plan.verification == "support")


def stages(plan: Plan) -> int:
    """Model calls that wait for each other; replicas run side by side."""
    return plan.hops * (1 + plan.rerank) + checks(plan)


def is_larger(plan: Plan, than: Plan) -> bool:
    """Whether `plan` does strictly more than `than`: a strict order, by the passages that are read."""
    return readings(plan) > readings(than)
