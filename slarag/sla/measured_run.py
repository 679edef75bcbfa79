"""A measured run: what one plan did on one question whose answer is known."""

from __future__ import annotations

from dataclasses import dataclass

from .confidence import ConfidenceFeatures
from .intents import Intent


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredRun:
    """One plan on one question.

    plan_key: `Plan.key` of the plan that ran. intent: the question's true or likeliest intent. f1: token F1 in [0, 1]
    of the best answer, given or not. wrong: whether that answer counts as wrong. answered: whether there was any
    answer to give. latency_ms: wall time. device_seconds: of all calls. features: what the confidence is made from,
    None when there was no answer. question_id: what runs on the same question share; validation holds out whole
    questions by it.
    """

    plan_key: str
    intent: Intent
    f1: float
    wrong: bool
    answered: bool
    latency_ms: float
    device_seconds: float
    features: ConfidenceFeatures | None
    question_id: str = ""
