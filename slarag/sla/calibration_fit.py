"""From measured runs to a calibration, with its figures on questions that were held out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from .backoff import PRIOR
from .backoff_fit import fit_backoff
from .calibration import USD_PER_DEVICE_SECOND, Calibration, CalibrationError, Source
from .cell_fit import confidence_model, crossed_confidences, measure_cells
from .folds import folds
from .measured_run import MeasuredRun
from .plan import Plan
from .validation import validate

HOLD_OUT = 4
"""One question in this many is held out for the validation."""


def fit_calibration(
    runs: Sequence[MeasuredRun],
    plans: Iterable[Plan],
    *,
    source: Source,
    seconds_per_passage: float,
    usd_per_device_second: float = USD_PER_DEVICE_SECOND,
) -> Calibration:
    """The calibration that `runs` of `plans` give.

    Everything is fitted twice: to three quarters of the questions, which gives `validation` on the last quarter, and
    then to all of them. The cells count answers by confidences from models that never saw the question. Runs of plans
    that are not among `plans`, or no runs at all, raise `CalibrationError`.
    """
    by_key = {plan.key: plan for plan in plans}
    unknown = sorted({run.plan_key for run in runs} - set(by_key))
    if not runs or unknown:
        reason = f"runs of plans that are not given: {unknown[:3]}" if unknown else "no runs to calibrate on"
        raise CalibrationError(reason, remedy="measure the plans that are given, at least one question each")
    source = replace(source, runs=len(runs), questions=len({run.question_id or id(run) for run in runs}))
    base = Calibration(
        source=source, seconds_per_passage=seconds_per_passage, usd_per_device_second=usd_per_device_second
    )
    held = folds(runs, HOLD_OUT, salt="held-out") == 0
    kept_runs = [run for run, out in zip(runs, held, strict=True) if not out]
    held_runs = [run for run, out in zip(runs, held, strict=True) if out]
    figures = validate(_fit(kept_runs, by_key, base), by_key, held_runs) if kept_runs and held_runs else {}
    return replace(_fit(runs, by_key, base), validation=figures)


def _fit(runs: Sequence[MeasuredRun], plans: dict[str, Plan], base: Calibration) -> Calibration:
    cells = measure_cells(runs, crossed_confidences(runs))
    prior = replace(PRIOR, seconds_per_reading=base.seconds_per_passage)
    return replace(base, cells=cells, backoff=fit_backoff(cells, plans, prior), confidence=confidence_model(runs))
