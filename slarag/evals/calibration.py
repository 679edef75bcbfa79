"""Calibration: every plan of the plan space measured on real questions, for the file that the mapper reads."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..feedback import read_feedback
from ..sla.calibration import Calibration, Source
from ..sla.calibration_fit import HOLD_OUT, fit_calibration
from ..sla.confidence import FEATURES, expected_calibration_error
from ..sla.errors import ConfigurationError
from ..sla.folds import folds
from ..sla.measured_run import MeasuredRun
from .calibration_data import all_documents, choose_items, choose_others
from .calibration_settings import CalibrationSettings
from .calibration_stages import measure_further, measure_plans, time_plans
from .favoured import favoured_plans
from .formats import Dataset, load_dataset
from .indexing import build
from .machine import machine
from .replay import measured_runs
from .settings import OnProgress, Progress
from .trials import TimedRun, Trial, TrialLog, TrialRun

SCHEMA = 1


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
        lines = [
            f"{self.path}: {self.calibration.source.runs:,} runs of {self.questions:,} questions",
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
    items = choose_items(datasets, settings)
    others = choose_others(datasets, settings, items)
    log = TrialLog(_claimed(settings, datasets) / "trials.jsonl")
    async with _opened(datasets, settings, tell) as measured:
        timed = await time_plans(measured.run, items[: settings.timed], tell)
        seconds_per_passage = await measured.seconds_per_passage()
        trials = await measure_plans(measured.run, items, log, settings, tell)
        found = _Found(trials, [], feedback, timed, seconds_per_passage, measured.usd_per_device_second)
        favoured = favoured_plans(settings.plans, _fitted(found, settings, datasets)) if others else {}
        found = replace(found, further=await measure_further(measured.run, others, favoured, log, settings, tell))
    calibration = _fitted(found, settings, datasets)
    calibration.save(settings.out)
    return CalibrationReport(
        path=settings.out, calibration=calibration, questions=len(items) + len(others), failures=measured.run.failures
    )


def _claimed(settings: CalibrationSettings, datasets: Sequence[Dataset]) -> Path:
    """The work folder of exactly this calibration: another one's trials are never mixed in."""
    from ..backends.reader.store import SHIPPED

    content = [
        settings.seed,
        settings.limit,
        settings.confidence_questions,
        settings.unanswerable_share,
        *FEATURES,
        *(plan.key for plan in settings.plans),
    ]
    weights = hashlib.sha256((SHIPPED / "reader.safetensors").read_bytes()).hexdigest()
    text = json.dumps([*content, weights, *(dataset.digest for dataset in datasets)])
    return settings.folder / hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class _Measured:
    run: TrialRun
    seconds_per_passage: Callable[[], Any]
    usd_per_device_second: float


@asynccontextmanager
async def _opened(
    datasets: Sequence[Dataset], settings: CalibrationSettings, tell: OnProgress
) -> AsyncGenerator[_Measured]:
    from ..backends.reader.backend import DEFAULT_PRICE
    from ..engine import Engine
    from ..retrievers.embedder import Embedder
    from ..retrievers.index import IndexRetriever
    from .memo import MemoReader, MemoRetriever

    folder = build(all_documents(datasets), settings.folder, tell)
    folders = _own_indexes(datasets, folder, settings, tell)
    embedder, reader = Embedder(cache_size=0), MemoReader()
    retriever = IndexRetriever.open(folder, embedder)
    corpora = {name: IndexRetriever.open(own, embedder) for name, own in folders.items()}

    async def seconds_per_passage() -> float:
        return (await reader.load()).seconds_per_passage or 0.01

    try:
        await asyncio.gather(asyncio.to_thread(reader.open), asyncio.to_thread(embedder.encode, ["warm up"]))
        async with Engine.open(MemoRetriever(retriever, corpora), backend=reader) as engine:
            run = TrialRun(engine, settings.plans, reader.forget)
            yield _Measured(run, seconds_per_passage, DEFAULT_PRICE.usd_per_device_second)
    finally:
        await reader.aclose()
        for opened in (retriever, *corpora.values()):
            await asyncio.to_thread(opened.close)


def _own_indexes(
    datasets: Sequence[Dataset], whole: Path, settings: CalibrationSettings, tell: OnProgress
) -> dict[str, Path]:
    """By file name an index over its documents alone, where further questions search; the `whole` one for one file."""
    if len(datasets) == 1:
        return {datasets[0].path.name: whole}
    own = settings.folder / "own"
    return {dataset.path.name: build(all_documents([dataset]), own / dataset.path.name, tell) for dataset in datasets}


@dataclass(frozen=True, slots=True)
class _Found:
    trials: list[Trial]
    further: list[Trial]
    feedback: list[MeasuredRun]
    timed: list[TimedRun]
    seconds_per_passage: float
    usd_per_device_second: float


def _fitted(found: _Found, settings: CalibrationSettings, datasets: Sequence[Dataset]) -> Calibration:
    runs, others = measured_runs(found.trials, found.timed), measured_runs(found.further, found.timed)
    source = Source(
        kind="measured",
        description=_description(settings, found),
        data=tuple(f"{dataset.path.name} (sha256 {dataset.digest[:12]})" for dataset in datasets),
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
        f"confidence fitted to {others} further questions{told} too, half of them over their own passages, half over "
        "those of their file, under the plans that the shipped profiles get and a few more; latency and device time "
        f"from {settings.timed} questions timed alone"
    )


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
