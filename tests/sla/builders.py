"""Synthetic calibrations and measured runs with known truths."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from slarag.sla.calibration import Calibration, Source
from slarag.sla.confidence import ConfidenceFeatures
from slarag.sla.intents import INTENTS, Intent
from slarag.sla.measured_run import MeasuredRun
from slarag.sla.plan import Plan
from slarag.sla.work import readings

SECONDS_PER_PASSAGE = 0.02
MEASURED = Source(kind="measured", description="synthetic")


def prior_calibration(**changes: object) -> Calibration:
    """A calibration that has measured nothing."""
    settings: dict[str, object] = {
        "source": Source(kind="prior", description="synthetic"),
        "seconds_per_passage": SECONDS_PER_PASSAGE,
    }
    return Calibration(**{**settings, **changes})  # type: ignore[arg-type]


def quality(plan: Plan, intent: Intent) -> float:
    """The true chance that `plan` answers a question of `intent` rightly."""
    logit = -0.8 + 0.5 * math.log2(plan.passages) + 0.6 * (intent == "factoid") - 0.8 * (intent == "explanation")
    logit += 0.5 * (plan.hops - 1) * (intent == "multi_hop") - 0.7 * (plan.retrieval == "lexical")
    return 1 / (1 + math.exp(-logit))


def simulate(plans: Sequence[Plan], questions: int, seed: int = 0) -> list[MeasuredRun]:
    """Every plan on every question; the intents take turns."""
    rng = random.Random(seed)
    runs: list[MeasuredRun] = []
    for number in range(questions):
        luck = rng.random()
        runs.extend(_run(plan, number, luck, rng) for plan in plans)
    return runs


def _run(plan: Plan, number: int, luck: float, rng: random.Random) -> MeasuredRun:
    intent = INTENTS[number % len(INTENTS)]
    chance = quality(plan, intent)
    right = 0.7 * luck + 0.3 * rng.random() < chance
    seen = min(1.0, max(0.0, 0.5 * chance + 0.4 * right + rng.gauss(0, 0.1)))
    device = SECONDS_PER_PASSAGE * readings(plan) * rng.uniform(0.9, 1.1)
    return MeasuredRun(
        plan_key=plan.key,
        intent=intent,
        f1=1.0 if right else 0.1,
        wrong=not right,
        answered=True,
        latency_ms=25 + 1000 * device * (1 + 0.5 * rng.random() ** 3),
        device_seconds=device,
        features=ConfidenceFeatures(top=seen, margin=seen / 2, no_answer=1 - seen, agreement=1.0),
        question_id=f"q{number}",
    )
