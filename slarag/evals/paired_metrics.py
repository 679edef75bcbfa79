"""The metrics of a comparison: those of a report that single questions have a part in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from ..sla.confidence import expected_calibration_error
from .outcome import Measurement
from .paired import Measure, Paired, paired_mean, paired_statistic

Joined = Sequence[tuple[Measurement, Measurement]]


def _when(condition: bool, value: float | None) -> float | None:
    return value if condition else None


def _flag(value: bool | None) -> float | None:
    return None if value is None else float(value)


_MEANS: Mapping[str, Callable[[Measurement], float | None]] = {
    "exact_match": lambda m: m.scores.exact_match,
    "f1": lambda m: m.scores.f1,
    "f1_answerable": lambda m: _when(not m.is_impossible, m.scores.f1),
    "f1_forced": lambda m: m.scores.f1_forced,
    "no_answer_recall": lambda m: _when(m.is_impossible and m.scores.f1 is not None, float(m.abstained)),
    "answered_share": lambda m: float(not m.abstained),
    "wrong": lambda m: _flag(m.scores.wrong),
    "recall_at_5": lambda m: m.recall_at_5,
    "latency_ms": lambda m: m.timing.latency_ms,
    "usd_per_query": lambda m: m.usd,
    "device_seconds_per_query": lambda m: m.device_seconds,
    "attainment": lambda m: _when(bool(m.met), float(all(m.met.values()))),
}


def paired_metrics(joined: Joined, *, seed: int = 0) -> dict[str, Paired | None]:
    """Every metric over the pairs of A and B that have it; None where none do.

    `wrong` is the share of all questions that got a wrong answer, `latency_ms` the mean. A report's other figures, such
    as percentiles, are compared too, without a test. Goodput is left out, for it belongs to a run, not to questions.
    """
    means = {name: _mean(joined, of, seed) for name, of in _MEANS.items()}
    by_objective = {f"attainment_{name}": _mean(joined, _met(name), seed) for name in _objectives(joined)}
    return {**means, **by_objective, **_statistics(joined, seed)}


def _mean(joined: Joined, of: Callable[[Measurement], float | None], seed: int) -> Paired | None:
    values = [(of(a), of(b)) for a, b in joined]
    return paired_mean([(a, b) for a, b in values if a is not None and b is not None], seed=seed)


def _objectives(joined: Joined) -> list[str]:
    return list(dict.fromkeys(name for a, b in joined for name in a.met if name in b.met))


def _met(objective: str) -> Callable[[Measurement], float | None]:
    return lambda m: _flag(m.met.get(objective))


def _statistics(joined: Joined, seed: int) -> dict[str, Paired | None]:
    keyed = [(a, b) for a, b in joined if a.scores.f1 is not None and b.scores.f1 is not None]
    both_answer = all(any(not pair[side].abstained for pair in keyed) for side in (0, 1))
    return {
        "wrong_answer_rate": _compared(keyed if both_answer else [], _wrong_answer_rate, seed),
        "ece": _compared(keyed, _calibration_error, seed),
        "latency_p50_ms": _compared(joined, _percentile(50), seed),
        "latency_p95_ms": _compared(joined, _percentile(95), seed),
    }


def _compared(joined: Joined, of: Callable[[Sequence[Measurement]], Measure], seed: int) -> Paired | None:
    return paired_statistic(len(joined), of([a for a, _ in joined]), of([b for _, b in joined]), seed=seed)


def _wrong_answer_rate(measured: Sequence[Measurement]) -> Measure:
    given = np.array([not m.abstained for m in measured], dtype=np.float64)
    wrong = np.array([bool(m.scores.wrong) for m in measured], dtype=np.float64)
    return lambda at: float(wrong[at].sum() / max(1.0, given[at].sum()))


def _calibration_error(measured: Sequence[Measurement]) -> Measure:
    stated = np.array([m.confidence for m in measured], dtype=np.float64)
    correct: npt.NDArray[np.bool_] = np.array([bool(m.scores.correct) for m in measured], dtype=np.bool_)
    return lambda at: expected_calibration_error(stated[at], correct[at], bins=10)


def _percentile(q: float) -> Callable[[Sequence[Measurement]], Measure]:
    def of(measured: Sequence[Measurement]) -> Measure:
        latencies = np.array([m.timing.latency_ms for m in measured], dtype=np.float64)
        return lambda at: float(np.percentile(latencies[at], q))

    return of
