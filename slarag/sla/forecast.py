"""Forecasts: predictions for many plans at once, from arrays that are laid out when a calibration is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .borrowed import borrowed_for_jury
from .cells import THRESHOLDS, Cell
from .conditions import Conditions
from .intents import INTENTS, IntentPrediction
from .plan import Plan
from .prediction import Estimate, Prediction
from .work import calls, size

if TYPE_CHECKING:
    from .calibration import Calibration

Vector = npt.NDArray[np.float64]

PLAN_WEIGHT = 30.0
"""Questions' worth that the back-off weighs against what was measured of a plan over all intents."""
CURVE_WEIGHT = 30.0
TIME_WEIGHT = 8.0

_Z = 1.645  # bounds of a two-sided 90 % interval
_ANSWER_SD = 0.42  # of one answer's F1 around its cell's mean
_TIME_SD = 0.25  # of the logarithm of an unmeasured plan's latency around the back-off
_TIME_SD_FLOOR = 0.03
_FEW_ANSWERS = 0.02  # a plan that hardly ever answers is not thereby safe
_TYPICAL_READINGS = 4  # of a call that is waiting ahead of ours
_MAX_SLOWDOWN = 100.0
_KEPT_THRESHOLDS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class Forecast:
    """Predictions of a table's plans under one question's circumstances; every array is [3, plans]: mean, low, high."""

    f1: Vector
    wrong: Vector
    latency_ms: Vector
    usd: Vector

    def prediction(self, index: int) -> Prediction:
        """The prediction of plan `index`."""
        return Prediction(
            *(Estimate(*array[:, index].tolist()) for array in (self.f1, self.wrong, self.latency_ms, self.usd))
        )


class Curves:
    """How often plans give an answer, and a wrong one, over the confidence threshold they abstain below.

    given, wrong: [plans, intents, thresholds]. What a threshold comes to is kept, because profiles are few.
    """

    def __init__(self, given: Vector, wrong: Vector) -> None:
        self._given = given
        self._wrong = wrong
        self.at = lru_cache(maxsize=_KEPT_THRESHOLDS)(self._at)

    def _at(self, threshold: float) -> tuple[Vector, Vector]:
        """Both, [plans, intents] each, at `threshold`."""
        return _between(self._given, threshold), _between(self._wrong, threshold)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlanTable:
    """A calibration laid out for a fixed set of plans.

    f1, f1_variance, n: [plans, intents]. curves: how often plans answer, and wrongly. fixed_ms, work_ms: the parts of
    the median latency that the load of the moment leaves alone and stretches. tail, time_factor (of the bounds around
    a latency), device_seconds, device_seconds_p95, calls, sizes: [plans]. curve_weight: questions' worth that the
    rates of wrong answers rest on beside a plan's own, as the back-off learned them from all plans.
    """

    plans: tuple[Plan, ...]
    f1: Vector
    f1_variance: Vector
    n: Vector
    curves: Curves
    fixed_ms: Vector
    work_ms: Vector
    tail: Vector
    time_factor: Vector
    device_seconds: Vector
    device_seconds_p95: Vector
    calls: Vector
    sizes: Vector
    seconds_per_passage: float
    usd_per_device_second: float
    curve_weight: float

    @classmethod
    def of(cls, plans: Sequence[Plan], calibration: Calibration) -> PlanTable:
        """The table of `plans` under `calibration`."""
        quality = [_quality(plan, calibration) for plan in plans]
        times = [_times(plan, calibration) for plan in plans]
        columns = np.array(times).T
        return cls(
            plans=tuple(plans),
            f1=np.stack([row.f1 for row in quality]),
            f1_variance=np.stack([row.variance for row in quality]),
            n=np.stack([row.n for row in quality]),
            curves=Curves(np.stack([row.given for row in quality]), np.stack([row.wrong for row in quality])),
            fixed_ms=columns[0],
            work_ms=columns[1],
            tail=columns[2],
            time_factor=np.exp(_Z * columns[3]),
            device_seconds=columns[4],
            device_seconds_p95=columns[5],
            calls=np.array([float(calls(plan)) for plan in plans]),
            sizes=np.array([size(plan) for plan in plans]),
            seconds_per_passage=calibration.seconds_per_passage,
            usd_per_device_second=calibration.usd_per_device_second,
            curve_weight=CURVE_WEIGHT + calibration.source.questions / 2,
        )

    def forecast(self, intent: IntentPrediction, conditions: Conditions, *, threshold: float = 0.0) -> Forecast:
        """The predictions of all plans for a question of `intent` under `conditions`."""
        mix = np.array([intent.probabilities[name] for name in INTENTS])
        slowdown = self._slowdown(conditions)
        return Forecast(
            f1=self._f1(mix),
            wrong=self._wrong(mix, threshold),
            latency_ms=self._latency_ms(conditions, slowdown),
            usd=self._usd(slowdown),
        )

    def _slowdown(self, conditions: Conditions) -> float:
        if conditions.seconds_per_passage is None:
            return 1.0
        return min(conditions.seconds_per_passage / self.seconds_per_passage, _MAX_SLOWDOWN)

    def _f1(self, mix: Vector) -> Vector:
        mean = self.f1 @ mix
        spread = _Z * np.sqrt(self.f1_variance @ mix**2)
        return np.array([mean, np.maximum(mean - spread, 0.0), np.minimum(mean + spread, 1.0)])

    def _wrong(self, mix: Vector, threshold: float) -> Vector:
        given_at, wrong_at = self.curves.at(threshold)
        given, wrong = given_at @ mix, wrong_at @ mix
        rate = (wrong + _FEW_ANSWERS / 2) / (given + _FEW_ANSWERS)
        answers = (self.n @ mix + self.curve_weight) * (given + _FEW_ANSWERS)
        spread = _Z * np.sqrt(rate * (1 - rate) / answers)
        return np.array([rate, np.maximum(rate - spread, 0.0), np.minimum(rate + spread, 1.0)])

    def _latency_ms(self, conditions: Conditions, slowdown: float) -> Vector:
        call_ms = 1000 * _TYPICAL_READINGS * self.seconds_per_passage * slowdown
        queue_ms = conditions.ahead * call_ms * self.calls
        mean = self.tail * (self.fixed_ms + self.work_ms * slowdown) + queue_ms
        return np.array([mean, mean / self.time_factor, mean * self.time_factor])

    def _usd(self, slowdown: float) -> Vector:
        rate = self.usd_per_device_second * slowdown
        mean = self.device_seconds * rate
        return np.array([mean, mean / 2, self.device_seconds_p95 * rate])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Quality:
    f1: Vector
    variance: Vector
    n: Vector
    given: Vector
    wrong: Vector


def _quality(plan: Plan, calibration: Calibration) -> _Quality:
    """Shrink each intent's figure to the plan's, and the plan's to the back-off.

    Empirical Bayes: an answer's variance over that of the true figures around the back-off is what the expectation
    weighs in questions.
    """
    cells = _cells(plan, calibration)
    per_intent = [cells.get(intent) for intent in INTENTS]
    n = np.array([cell.n if cell else 0 for cell in per_intent], dtype=np.float64)
    seen = np.array([cell.f1 if cell else 0.0 for cell in per_intent])
    expected = calibration.backoff.f1(plan)
    shift = float((n * (seen - expected)).sum() / (n.sum() + PLAN_WEIGHT))
    expected = np.clip(expected + shift, 0.0, 1.0)
    cell_weight = (_ANSWER_SD / calibration.backoff.quality_sd) ** 2
    f1 = (n * seen + cell_weight * expected) / (n + cell_weight)
    given, wrong = calibration.backoff.curves(plan, f1)
    weight = (n / (n + CURVE_WEIGHT))[:, None]
    return _Quality(
        f1=f1,
        variance=_ANSWER_SD**2 * (1 / (n + cell_weight) + 1 / (calibration.source.questions + PLAN_WEIGHT)),
        n=n,
        given=weight * _curves(per_intent, "given") + (1 - weight) * given,
        wrong=weight * _curves(per_intent, "wrong") + (1 - weight) * wrong,
    )


def _curves(cells: Sequence[Cell | None], name: str) -> Vector:
    empty = (0.0,) * len(THRESHOLDS)
    return np.array([getattr(cell, name) if cell else empty for cell in cells])


def _times(plan: Plan, calibration: Calibration) -> tuple[float, float, float, float, float, float]:
    """Fixed ms, work ms, tail, sd of the logarithm, device seconds, their 95th percentile."""
    backoff = calibration.backoff
    cell = _cells(plan, calibration).get("any")
    n = cell.n if cell else 0
    own = n / (n + TIME_WEIGHT)
    seconds = backoff.device_seconds(plan)
    device_tail, tail = backoff.device_tail, backoff.tail
    if cell is not None:
        seconds = _blend(own, cell.device_seconds, seconds)
        device_tail = _blend(own, cell.device_seconds_p95 / max(cell.device_seconds, 1e-9), device_tail)
        tail = _blend(own, cell.latency_p95_ms / max(cell.latency_p50_ms, 1e-9), tail)
    median = backoff.latency_p50_ms(plan, seconds)
    if cell is not None:
        median = _blend(own, cell.latency_p50_ms, median)
    work_ms = min(0.95 * median, 1000 * seconds)
    sd = _TIME_SD * float(np.sqrt(TIME_WEIGHT / (n + TIME_WEIGHT))) + _TIME_SD_FLOOR
    return median - work_ms, work_ms, max(tail, 1.0), sd, seconds, seconds * max(device_tail, 1.0)


def _blend(own: float, measured: float, expected: float) -> float:
    """A weighted geometric mean: times differ by factors."""
    return float(np.exp(own * np.log(max(measured, 1e-9)) + (1 - own) * np.log(max(expected, 1e-9))))


def _cells(plan: Plan, calibration: Calibration) -> dict[str, Cell]:
    """What was measured of `plan`, or borrowed for it; escalating does not change its first run."""
    once = replace(plan, escalations=0)
    found = calibration.by_plan.get(once.key)
    if found is None and plan.arbitration == "jury":
        return borrowed_for_jury(once, calibration.by_plan, calibration.backoff)
    return found or {}


def _between(curves: Vector, threshold: float) -> Vector:
    """`curves` [plans, intents, thresholds] at `threshold`, straight between the two thresholds around it."""
    place = min(max(threshold, 0.0), THRESHOLDS[-1]) * 10
    below = min(int(place), len(THRESHOLDS) - 2)
    part = place - below
    return curves[:, :, below] * (1 - part) + curves[:, :, below + 1] * part
