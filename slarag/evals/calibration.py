"""Calibration: every plan of the plan space measured on real questions, for the file that the mapper reads."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..feedback import read_feedback
from ..sla.calibration import Calibration, Source
from ..sla.calibration_fit import HOLD_OUT, fit_calibration, refit_confidence
from ..sla.confidence import FEATURES, expected_calibration_error
from ..sla.errors import ConfigurationError
from ..sla.folds import folds
from ..sla.measured_run import MeasuredRun
from .calibration_bed import Bed, opened
from .calibration_data import choose
from .calibration_settings import CalibrationSettings
from .calibration_stages import measure_further, measure_plans, time_plans
from .favoured import favoured_plans
from .formats import Dataset, load_dataset
from .item import EvalItem
from .machine import machine
from .replay import measured_runs
from .settings import OnProgress, Progress
from .trials import TimedRun, Trial, TrialLog

SCHEMA = 1
_FURTHER = (
    "half of them over their own passages, half over those of their file, under the plans that the shipped profiles "
    "get and a few more"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationReport:
    """A calibration that was made. failures: trials that could not be measured, by error code."""

    path: Path
    calibration: Calibration
    questions: int
    failures: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {
            "schema": SCHEMA,
            "path": str(self.path),
            "questions": self.questions,
            "source": self.calibration.source.to_dict(),
            "seconds_per_passage": self.calibration.seconds_per_passage,
            "cells": len(self.calibration.cells),
            "validation": dict(self.calibration.validation),
            "failures": dict(self.failures),
        }

    def table(self) -> str:
        """Lines for people."""
        source = self.calibration.source
        lines = [
            f"{self.path}: {source.runs:,} runs of {source.questions:,} questions",
            *([f"questions of this call: {self.questions:,}"] if self.questions != source.questions else []),
            f"device time of a reading: {1000 * self.calibration.seconds_per_passage:.1f} ms",
            *(f"held out, {name}: {value:g}" for name, value in self.calibration.validation.items()),
            *(f"failed, {code}: {count}" for code, count in self.failures.items()),
        ]
        return "\n".join(lines)


def calibrate(settings: CalibrationSettings, *, on_progress: OnProgress | None = None) -> CalibrationReport:
    """Measure every plan on the questions, fit, validate on held-out questions and write `settings.out`.

    Raises `DataError`, `ConfigurationError` and `StorageError`.
    """
    return asyncio.run(acalibrate(settings, on_progress=on_progress))


async def acalibrate(settings: CalibrationSettings, *, on_progress: OnProgress | None = None) -> CalibrationReport:
    """The async form of `calibrate`."""
    tell = on_progress or _silent
    if settings.out.is_dir():
        raise ConfigurationError(f"{str(settings.out)!r} is a folder", remedy="name the file to write with --out")
    feedback = [run for path in settings.feedback for run in read_feedback(path)]
    datasets = [load_dataset(path) for path in settings.data]
    items, others = choose(datasets, settings)
    log = TrialLog(_claimed(settings, datasets) / "trials.jsonl")
    async with opened(datasets, settings, tell) as bed:
        at_work = _AtWork(settings, datasets, items, others, feedback, bed, log, tell)
        calibration = await at_work.calibration()
    calibration.save(settings.out)
    return CalibrationReport(
        path=settings.out, calibration=calibration, questions=len(items) + len(others), failures=bed.run.failures
    )


@dataclass(frozen=True, slots=True)
class _AtWork:
    """A calibration that is being made: every plan on `items`, `others` for the confidence alone."""

    settings: CalibrationSettings
    datasets: Sequence[Dataset]
    items: Sequence[EvalItem]
    others: Sequence[EvalItem]
    feedback: Sequence[MeasuredRun]
    bed: Bed
    log: TrialLog
    tell: OnProgress

    async def calibration(self) -> Calibration:
        """The calibration."""
        kept = self.settings.kept
        return await (self._measured() if kept is None else self._refitted(kept))

    async def _measured(self) -> Calibration:
        settings = self.settings
        timed = await time_plans(self.bed.run, self.items[: settings.timed], self.tell)
        seconds_per_passage = await self.bed.seconds_per_passage()
        trials = await measure_plans(self.bed.run, self.items, self.log, settings, self.tell)
        found = _Found(trials, [], self.feedback, timed, seconds_per_passage, self.bed.usd_per_device_second)
        if self.others:
            found = replace(found, further=await self._further(_fitted(found, settings, self.datasets)))
        return _fitted(found, settings, self.datasets)

    async def _refitted(self, kept: Calibration) -> Calibration:
        """`kept` with a confidence of its own for the questions."""
        further = await self._further(kept)
        told = f" and {len(self.feedback)} answers that were judged by their readers" if self.feedback else ""
        calibration = refit_confidence(
            kept,
            [*measured_runs(further, []), *self.feedback],
            data=_named(self.datasets),
            note=f"confidence fitted anew to {len(self.others)} questions{told}, {_FURTHER}",
        )
        return replace(calibration, validation={**calibration.validation, **_before("others_ece_before", further)})

    async def _further(self, calibration: Calibration) -> list[Trial]:
        """Trials on `others` under the plans that they would get by `calibration`, and a few more."""
        favoured = favoured_plans(self.settings.plans, calibration)
        return await measure_further(self.bed.run, self.others, favoured, self.log, self.settings, self.tell)


def _claimed(settings: CalibrationSettings, datasets: Sequence[Dataset]) -> Path:
    """The work folder of exactly this calibration: another one's trials are never mixed in."""
    from ..backends.reader.store import SHIPPED

    content = [
        settings.seed,
        settings.limit,
        settings.confidence_questions,
        settings.unanswerable_share,
        *FEATURES,
        *([] if settings.kept is None else [settings.kept.to_json()]),
        *(plan.key for plan in settings.plans),
    ]
    weights = hashlib.sha256((SHIPPED / "reader.safetensors").read_bytes()).hexdigest()
    text = json.dumps([*content, weights, *(dataset.digest for dataset in datasets)])
    return settings.folder / hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class _Found:
    trials: list[Trial]
    further: list[Trial]
    feedback: Sequence[MeasuredRun]
    timed: list[TimedRun]
    seconds_per_passage: float
    usd_per_device_second: float


def _fitted(found: _Found, settings: CalibrationSettings, datasets: Sequence[Dataset]) -> Calibration:
    runs, others = measured_runs(found.trials, found.timed), measured_runs(found.further, found.timed)
    source = Source(
        kind="measured",
        description=_description(settings, found),
        data=_named(datasets),
        machine=", ".join(f"{value}" for value in machine().values()),
    )
    calibration = fit_calibration(
        runs,
        settings.plans,
        source=source,
        seconds_per_passage=found.seconds_per_passage,
        usd_per_device_second=found.usd_per_device_second,
        others=[*others, *found.feedback],
    )
    held = folds(runs, HOLD_OUT, salt="held-out") == 0
    validating = [trial for trial, out in zip(found.trials, held, strict=True) if out]
    before = {**_before("ece_before", validating), **_before("others_ece_before", found.further)}
    return replace(calibration, validation={**calibration.validation, **before})


def _description(settings: CalibrationSettings, found: _Found) -> str:
    questions = len({trial.item_id for trial in found.trials})
    others = len({trial.item_id for trial in found.further})
    told = f" and {len(found.feedback)} answers that were judged by their readers" if found.feedback else ""
    return (
        f"{len(settings.plans)} plans on {questions} questions, at most {settings.unanswerable_share:.0%} of them "
        f"without an answer (their F1 counts as 0), retrieval over all passages of the files, seed {settings.seed}; "
        f"confidence fitted to {others} further questions{told} too, {_FURTHER}; latency and device time "
        f"from {settings.timed} questions timed alone"
    )


def _named(datasets: Sequence[Dataset]) -> tuple[str, ...]:
    return tuple(f"{dataset.path.name} (sha256 {dataset.digest[:12]})" for dataset in datasets)


def _before(name: str, trials: Sequence[Trial]) -> dict[str, float]:
    """The calibration error of the engine's own confidence on `trials`; none without an answer."""
    answered = [trial for trial in trials if trial.features is not None]
    if not answered:
        return {}
    error = expected_calibration_error(
        [trial.confidence for trial in answered], [not trial.wrong for trial in answered]
    )
    return {name: round(error, 5)}


def _silent(progress: Progress) -> None:
    pass
