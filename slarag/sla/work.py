"""How much a plan does: the order in which plans are larger, and what latency and cost grow with."""

from __future__ import annotations

from .plan import Plan

RERANK_WIDTH = 3
"""Candidates that are read for answerability per passage that is kept, when a plan reranks."""

JUDGED = 3
"""Answers that a jury compares, at most."""

_HOP = 0.5  # a retrieval round's worth in readings: less than the smallest step between two numbers of passages


def readings(plan: Plan) -> int:
    """Pairs of question and passage that the plan's models read when nothing stops it early.

    What a reranker has read is not read again for the answer.
    """
    kept = sum(plan.replica(index).passages for index in range(plan.replicas))
    return kept * (RERANK_WIDTH if plan.rerank else 1) + checks(plan)


def work(plan: Plan) -> float:
    """Readings, each as the share of a full one that the plan's compute budget leaves: what device time grows with."""
    return readings(plan) * plan.compute_budget


def checks(plan: Plan) -> int:
    """Claims that a model is asked about: the verifier's one, and a jury's best answers, each by every other model."""
    judged = JUDGED * (plan.replicas - 1) if plan.arbitration == "jury" else 0
    return judged + int(plan.verification == "support")


def calls(plan: Plan) -> int:
    """Model calls that wait for each other; replicas run side by side."""
    return 1 + int(plan.rerank) + int(plan.arbitration == "jury") + int(plan.verification == "support")


def size(plan: Plan) -> float:
    """What orders plans by how much they do: readings first, then retrieval rounds."""
    return work(plan) + _HOP * (plan.hops - 1)
