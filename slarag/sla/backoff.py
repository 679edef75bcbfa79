"""Back-off: what to expect of a plan that was measured little or not at all.

Quality is linear in the plan's parameters and the intent; how many answers pass a confidence threshold, and how many
of those are wrong, is linear in that quality; time is linear in the work. All of it is shrunk towards `PRIOR`, so
that what was never measured stays where reasoning put it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from .cells import THRESHOLDS
from .intents import INTENTS, Intent
from .plan import Plan
from .work import calls, work

Vector = npt.NDArray[np.float64]

PLAN_TERMS = (
    "log2_passages",
    "log2_passages_squared",
    "rerank",
    "extra_hop",
    "lexical",
    "dense",
    "log2_replicas",
    "support",
    "left_out",
)
CROSSED_INTENTS: tuple[Intent, ...] = ("yes_no", "comparison", "multi_hop", "list", "explanation")
QUALITY_TERMS = (
    *INTENTS,
    *PLAN_TERMS,
    *(f"{intent}:{term}" for intent in CROSSED_INTENTS for term in ("log2_passages", "extra_hop")),
)
CURVE_TERMS = ("bias", "f1", "support")
TIME_TERMS = ("bias", "calls", "extra_hops", "device_ms")


@dataclass(frozen=True, kw_only=True, slots=True)
class Backoff:
    """Weights of the linear models.

    quality: F1 over `QUALITY_TERMS`. quality_sd: how far a plan's true F1 may lie from that. given, wrong: for each
    of `THRESHOLDS` a share of the questions over `CURVE_TERMS`. seconds_per_reading: device time. time: median
    latency in ms over `TIME_TERMS`. tail: 95th percentile of the latency over its median. device_tail: of the device
    time over its mean.
    """

    quality: tuple[float, ...]
    quality_sd: float
    given: tuple[tuple[float, ...], ...]
    wrong: tuple[tuple[float, ...], ...]
    seconds_per_reading: float
    time: tuple[float, ...]
    tail: float
    device_tail: float

    def __post_init__(self) -> None:
        whole = (
            len(self.quality) == len(QUALITY_TERMS)
            and len(self.time) == len(TIME_TERMS)
            and len(self.given) == len(self.wrong) == len(THRESHOLDS)
            and all(len(row) == len(CURVE_TERMS) for row in (*self.given, *self.wrong))
        )
        if not whole:
            raise ValueError("back-off weights do not fit this version's terms")
        if not self.quality_sd > 0:
            raise ValueError(f"quality_sd must be positive, not {self.quality_sd!r}")

    def f1(self, plan: Plan) -> Vector:
        """Expected F1 of `plan` per intent [7], in [0, 1]."""
        rows = np.stack([quality_terms(plan, intent) for intent in INTENTS])
        return np.clip(rows @ np.array(self.quality), 0.0, 1.0)

    def curves(self, plan: Plan, f1: Vector) -> tuple[Vector, Vector]:
        """Shares given and wrong [len(f1), thresholds] of `plan` where its F1 is `f1`; both fall as the threshold
        rises.
        """
        terms = curve_terms(plan, f1)
        given = np.minimum.accumulate(np.clip(terms @ np.array(self.given).T, 0.0, 1.0), axis=1)
        wrong = np.minimum.accumulate(np.clip(terms @ np.array(self.wrong).T, 0.0, 1.0), axis=1)
        return given, np.minimum(wrong, given)

    def device_seconds(self, plan: Plan) -> float:
        """Expected device time of one question."""
        return self.seconds_per_reading * work(plan)

    def latency_p50_ms(self, plan: Plan, device_seconds: float) -> float:
        """Expected median latency on an idle machine."""
        return max(1.0, float(time_terms(plan, device_seconds) @ np.array(self.time)))

    def to_dict(self) -> dict[str, Any]:
        """The weights by term, as plain JSON values."""
        raw = asdict(self)
        raw["quality"] = dict(zip(QUALITY_TERMS, self.quality, strict=True))
        raw["time"] = dict(zip(TIME_TERMS, self.time, strict=True))
        return raw

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Backoff:
        """Weights from `to_dict`'s result."""
        return cls(
            quality=tuple(float(raw["quality"][term]) for term in QUALITY_TERMS),
            quality_sd=float(raw["quality_sd"]),
            given=tuple(tuple(map(float, row)) for row in raw["given"]),
            wrong=tuple(tuple(map(float, row)) for row in raw["wrong"]),
            seconds_per_reading=float(raw["seconds_per_reading"]),
            time=tuple(float(raw["time"][term]) for term in TIME_TERMS),
            tail=float(raw["tail"]),
            device_tail=float(raw["device_tail"]),
        )


@cache
def _plan_terms(plan: Plan) -> tuple[float, ...]:
    passages = math.log2(plan.passages)
    return (
        passages,
        passages**2,
        float(plan.rerank),
        float(plan.hops - 1),
        float(plan.retrieval == "lexical"),
        float(plan.retrieval == "dense"),
        math.log2(plan.replicas),
        float(plan.verification == "support"),
        1 - plan.compute_budget,
    )


def quality_terms(plan: Plan, intent: Intent) -> Vector:
    """The values of `QUALITY_TERMS` for `plan` on questions of `intent`."""
    terms = _plan_terms(plan)
    crossed = [value * (intent == other) for other in CROSSED_INTENTS for value in (terms[0], terms[3])]
    return np.array([*(float(intent == other) for other in INTENTS), *terms, *crossed])


def curve_terms(plan: Plan, f1: Vector) -> Vector:
    """The values of `CURVE_TERMS` [len(f1), 3]."""
    support = float(plan.verification == "support")
    return np.stack([np.ones_like(f1), f1, np.full_like(f1, support)], axis=1)


def time_terms(plan: Plan, device_seconds: float) -> Vector:
    """The values of `TIME_TERMS`."""
    return np.array([1.0, float(calls(plan)), float(plan.hops - 1), 1000 * device_seconds])


def _prior_quality() -> tuple[float, ...]:
    known = {
        "factoid": 0.50,
        "yes_no": 0.55,
        "comparison": 0.40,
        "multi_hop": 0.28,
        "list": 0.28,
        "explanation": 0.18,
        "out_of_scope": 0.05,
        "log2_passages": 0.07,
        "log2_passages_squared": -0.009,
        "rerank": 0.02,
        "extra_hop": -0.01,
        "lexical": -0.06,
        "dense": -0.05,
        "log2_replicas": 0.01,
        "left_out": -0.06,
        "multi_hop:extra_hop": 0.06,
        "comparison:extra_hop": 0.03,
        "multi_hop:log2_passages": 0.02,
        "list:log2_passages": 0.01,
        "explanation:log2_passages": -0.02,
    }
    return tuple(known.get(term, 0.0) for term in QUALITY_TERMS)


def _prior_curves() -> tuple[tuple[tuple[float, ...], ...], tuple[tuple[float, ...], ...]]:
    """If the confidence were uniform around a mean of F1: who is given an answer at t, and who a wrong one."""
    given = tuple((1 - 1.2 * t, 0.9 * t, 0.05 * t) for t in THRESHOLDS)
    wrong = tuple(((1 - t) ** 2, -((1 - t) ** 2), -0.05 * t * (1 - t)) for t in THRESHOLDS)
    return given, wrong


PRIOR = Backoff(
    quality=_prior_quality(),
    quality_sd=0.08,
    given=_prior_curves()[0],
    wrong=_prior_curves()[1],
    seconds_per_reading=0.012,
    time=(15.0, 8.0, 12.0, 0.9),
    tail=1.5,
    device_tail=1.25,
)
"""What reasoning expects before anything is measured: more passages help less and less, hops help questions that need
them, a reading takes 12 ms of one core, a tail is half again its median.
"""
