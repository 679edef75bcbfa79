"""From outcomes to the figures of a report."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ..sla.confidence import expected_calibration_error
from .intervals import UNMEASURED, Figure, mean, percentile, share, statistic
from .outcome import Measurement, Timing

METRICS = (
    "exact_match",
    "f1",
    "f1_answerable",
    "f1_forced",
    "no_answer_recall",
    "answered_share",
    "wrong_answer_rate",
    "recall_at_5",
    "ece",
    "latency_p50_ms",
    "latency_p95_ms",
    "usd_per_query",
    "device_seconds_per_query",
    "attainment",
    "goodput_qps",
)


def figures(measured: Sequence[Measurement], timings: Sequence[Timing], *, seed: int = 0) -> dict[str, Figure]:
    """All of `METRICS`, then `attainment_<objective>` for each objective, over the measured questions of one profile.

    timings: of all its questions, failed ones too, from which the wall-clock time of goodput is taken.
    A figure that nothing was measured for has no value and n = 0.
    """
    attainment = share([all(m.met.values()) for m in measured if m.met])
    return {
        **_quality(measured, seed),
        **_service(measured, seed),
        "attainment": attainment,
        "goodput_qps": _goodput(attainment, wall_seconds(timings)),
        **_attainment_by_objective(measured),
    }


def wall_seconds(timings: Sequence[Timing]) -> float:
    """How long the questions took together, concurrent ones counted once and pauses between them left out."""
    total, until = 0.0, (-1, 0.0)
    for timing in sorted(timings, key=lambda timing: (timing.session, timing.started_s)):
        began = max(timing.started_s, until[1]) if timing.session == until[0] else timing.started_s
        if timing.finished_s > began:
            total += timing.finished_s - began
            until = (timing.session, timing.finished_s)
    return total


def _quality(measured: Sequence[Measurement], seed: int) -> dict[str, Figure]:
    keyed = [m for m in measured if m.scores.f1 is not None]
    answerable = [m for m in keyed if not m.is_impossible]
    return {
        "exact_match": mean([m.scores.exact_match or 0.0 for m in keyed], seed=seed),
        "f1": mean([m.scores.f1 or 0.0 for m in keyed], seed=seed),
        "f1_answerable": mean([m.scores.f1 or 0.0 for m in answerable], seed=seed),
        "f1_forced": mean([m.scores.f1_forced or 0.0 for m in answerable], seed=seed),
        "no_answer_recall": share([m.abstained for m in keyed if m.is_impossible]),
        "answered_share": share([not m.abstained for m in measured]),
        "wrong_answer_rate": share([bool(m.scores.wrong) for m in keyed if not m.abstained]),
        "recall_at_5": _recall([m.recall_at_5 for m in measured if m.recall_at_5 is not None], seed),
        "ece": _calibration_error(keyed, seed),
    }


def _service(measured: Sequence[Measurement], seed: int) -> dict[str, Figure]:
    latencies = [m.timing.latency_ms for m in measured]
    prices = [m.usd for m in measured if m.usd is not None]
    return {
        "latency_p50_ms": percentile(latencies, 50),
        "latency_p95_ms": percentile(latencies, 95),
        "usd_per_query": mean(prices, seed=seed) if len(prices) == len(measured) else UNMEASURED,
        "device_seconds_per_query": mean([m.device_seconds for m in measured], seed=seed),
    }


def _recall(values: Sequence[float], seed: int) -> Figure:
    if all(value in (0.0, 1.0) for value in values):
        return share([value == 1.0 for value in values])
    return mean(values, seed=seed)


def _calibration_error(keyed: Sequence[Measurement], seed: int) -> Figure:
    stated = np.array([m.confidence for m in keyed], dtype=np.float64)
    correct = np.array([bool(m.scores.correct) for m in keyed], dtype=np.bool_)

    def error(at: npt.NDArray[np.intp]) -> float:
        return expected_calibration_error(stated[at], correct[at], bins=10)

    return statistic(len(keyed), error, seed=seed)


def _goodput(attainment: Figure, seconds: float) -> Figure:
    # The throughput is one observation, so the interval is that of the share that met its objectives.
    if attainment.value is None or attainment.low is None or attainment.high is None or seconds <= 0:
        return UNMEASURED
    rate = attainment.n / seconds
    return Figure(value=attainment.value * rate, low=attainment.low * rate, high=attainment.high * rate, n=attainment.n)


def _attainment_by_objective(measured: Sequence[Measurement]) -> dict[str, Figure]:
    names = dict.fromkeys(name for m in measured for name in m.met)
    return {f"attainment_{name}": share([m.met[name] for m in measured if name in m.met]) for name in names}
