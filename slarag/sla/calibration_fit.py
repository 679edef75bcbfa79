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
from .validation import OF_PLANS, validate, validate_others

HOLD_OUT = 4
"""One question in this many is held out for the validation."""


def fit_calibration(
    runs: Sequence[MeasuredRun],
    plans: Iterable[Plan],
    *,
    source: Source,
    seconds_per_passage: float,
    usd_per_device_second: float = USD_PER_DEVICE_SECOND,
    others: Sequence[MeasuredRun] = (),
) -> Calibration:
    """The calibration that `runs` of `plans` give.

    Everything is fitted twice: to three quarters of the questions, which gives `validation` on the last quarter, and
    then to all of them. The cells count answers by confidences from models that never saw the question. others: runs
    on further questions that only the confidence is fitted to; many questions on a few plans each teach it more than
    few on all. On them it is validated by fifths, each under a model fitted to all other questions. Runs of plans that
    are not among `plans`, or no runs at all, raise `CalibrationError`.
    """
    by_key = {plan.key: plan for plan in plans}
    unknown = sorted({run.plan_key for run in runs} - set(by_key))
    if not runs or unknown:
        reason = f"runs of plans that are not given: {unknown[:3]}" if unknown else "no runs to calibrate on"
        raise CalibrationError(reason, remedy="measure the plans that are given, at least one question each")
    source = replace(source, runs=len(runs), questions=_questions(runs))
    base = Calibration(
        source=source, seconds_per_passage=seconds_per_passage, usd_per_device_second=usd_per_device_second
    )
    kept, held = _split(runs)
    figures: dict[str, float] = {}
    if kept and held:
        figures = validate(_fit(kept, _split(others)[0], by_key, base), by_key, held)
    if others:
        figures |= validate_others(others, crossed_confidences(others, _telling(runs, others)))
    return replace(_fit(runs, others, by_key, base), validation=figures)


def refit_confidence(
    calibration: Calibration, runs: Sequence[MeasuredRun], *, data: tuple[str, ...], note: str
) -> Calibration:
    """`calibration` with a confidence fitted to `runs` alone, validated by fifths of their questions.

    What it was validated by of the former confidence is left out. data, note: of where the runs come from, for the
    source. No run with an answer raises `CalibrationError`.
    """
    if not any(run.features is not None for run in runs):
        raise CalibrationError("no answer to fit a confidence to", remedy="give questions that the passages answer")
    source = replace(
        calibration.source,
        description=f"{calibration.source.description}; {note}",
        data=tuple(dict.fromkeys([*calibration.source.data, *data])),
    )
    kept = {name: value for name, value in calibration.validation.items() if name in OF_PLANS}
    figures = kept | validate_others(runs, crossed_confidences(runs))
    return replace(calibration, source=source, confidence=confidence_model(runs), validation=figures)


def _split(runs: Sequence[MeasuredRun]) -> tuple[list[MeasuredRun], list[MeasuredRun]]:
    """Three quarters of the questions' runs, and the rest."""
    held = folds(runs, HOLD_OUT, salt="held-out") == 0
    kept = [run for run, out in zip(runs, held, strict=True) if not out]
    return kept, [run for run, out in zip(runs, held, strict=True) if out]


def _telling(runs: Sequence[MeasuredRun], others: Sequence[MeasuredRun]) -> Sequence[MeasuredRun]:
    """What the confidence is fitted to: `others` alone where they are the more questions.

    `runs` have every plan on each question and few questions without an answer, so they say little of what is asked.
    """
    return others if _questions(others) >= _questions(runs) else [*runs, *others]


def _questions(runs: Sequence[MeasuredRun]) -> int:
    return len({run.question_id or str(id(run)) for run in runs})


def _fit(
    runs: Sequence[MeasuredRun], others: Sequence[MeasuredRun], plans: dict[str, Plan], base: Calibration
) -> Calibration:
    pool = _telling(runs, others)
    cells = measure_cells(runs, crossed_confidences(runs, pool))
    prior = replace(PRIOR, seconds_per_reading=base.seconds_per_passage)
    return replace(base, cells=cells, backoff=fit_backoff(cells, plans, prior), confidence=confidence_model(pool))
