"""From trials that shared their readings to the runs that a calibration is fitted to."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence

from ..sla.measured_run import MeasuredRun
from .trials import TimedRun, Trial


def measured_runs(trials: Sequence[Trial], timed: Sequence[TimedRun]) -> list[MeasuredRun]:
    """Trials with the latency that they would have had alone.

    The reader is one thread, so a run takes its own device time and, beside it, what its plan takes anyway: the median
    of that is taken from the timed runs, and nothing where there are none. Device time is scaled from the trials'
    shared batches to single questions.
    """
    scale = _device_scale(trials, timed)
    beside = _beside_reading(timed)
    default = statistics.median(beside.values()) if beside else 0.0
    return [
        MeasuredRun(
            plan_key=trial.plan_key,
            intent=trial.intent,
            f1=trial.f1,
            wrong=trial.wrong,
            answered=trial.answered,
            latency_ms=beside.get(trial.plan_key, default) + 1000 * scale * trial.device_seconds,
            device_seconds=scale * trial.device_seconds,
            features=trial.features,
            question_id=trial.item_id,
        )
        for trial in trials
    ]


def _device_scale(trials: Sequence[Trial], timed: Sequence[TimedRun]) -> float:
    alone = {(run.plan_key, run.item_id): run.device_seconds for run in timed}
    pairs = [
        (alone[key], trial.device_seconds) for trial in trials if (key := (trial.plan_key, trial.item_id)) in alone
    ]
    shared = sum(device for _, device in pairs)
    return sum(device for device, _ in pairs) / shared if shared > 0 else 1.0


def _beside_reading(timed: Sequence[TimedRun]) -> dict[str, float]:
    by_plan: dict[str, list[float]] = defaultdict(list)
    for run in timed:
        by_plan[run.plan_key].append(max(0.1, run.latency_ms - 1000 * run.device_seconds))
    return {plan: statistics.median(values) for plan, values in by_plan.items()}
