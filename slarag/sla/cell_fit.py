"""From measured runs to cells."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from .cells import THRESHOLDS, Cell
from .confidence import ConfidenceModel, fit_confidence
from .folds import folds
from .intents import Intent
from .measured_run import MeasuredRun

Vector = npt.NDArray[np.float64]

_FOLDS = 5


def confidence_model(runs: Sequence[MeasuredRun]) -> ConfidenceModel:
    """The confidence model of `runs`; runs without an answer or without features do not count."""
    return fit_confidence((run.features, not run.wrong) for run in runs if run.features is not None)


def crossed_confidences(runs: Sequence[MeasuredRun], pool: Sequence[MeasuredRun] | None = None) -> Vector:
    """The confidence of each run under a model fitted to other questions [runs]; 0 where there was no answer.

    pool: the runs to fit to, `runs` themselves by default.
    """
    among = runs if pool is None else pool
    fold, pool_fold = folds(runs, _FOLDS), folds(among, _FOLDS)
    found = np.zeros(len(runs))
    for held in range(_FOLDS):
        model = confidence_model([run for run, at in zip(among, pool_fold, strict=True) if at != held])
        for index in np.flatnonzero(fold == held).tolist():
            found[index] = confidence_of(runs[index], model)
    return found


def confidence_of(run: MeasuredRun, model: ConfidenceModel) -> float:
    """The confidence of one run; without features it is certain when there was an answer, 0 when there was none."""
    return model.probability(run.features) if run.features is not None else float(run.answered)


def measure_cells(runs: Sequence[MeasuredRun], confidences: Vector) -> tuple[Cell, ...]:
    """The cells of every plan and intent among `runs`, and of every plan over all intents, in a stable order."""
    groups: dict[tuple[str, Intent | Literal["any"]], list[int]] = defaultdict(list)
    for index, run in enumerate(runs):
        groups[run.plan_key, run.intent].append(index)
        groups[run.plan_key, "any"].append(index)
    return tuple(
        _cell(plan, intent, [runs[i] for i in groups[plan, intent]], confidences[groups[plan, intent]])
        for plan, intent in sorted(groups)
    )


def _cell(plan: str, intent: Intent | Literal["any"], runs: Sequence[MeasuredRun], confidences: Vector) -> Cell:
    f1 = np.array([run.f1 for run in runs])
    wrong = np.array([run.wrong for run in runs])
    latency = np.array([run.latency_ms for run in runs])
    device = np.array([run.device_seconds for run in runs])
    has_answer = np.array([run.features is not None or run.answered for run in runs])
    given = has_answer[:, None] & _given(runs, confidences)
    return Cell(
        plan=plan,
        intent=intent,
        n=len(runs),
        f1=float(f1.mean()),
        f1_se=float(f1.std(ddof=1) / np.sqrt(len(runs))) if len(runs) > 1 else 0.5,
        given=tuple(given.mean(axis=0).tolist()),
        wrong=tuple((given & wrong[:, None]).mean(axis=0).tolist()),
        latency_p50_ms=float(np.median(latency)),
        latency_p95_ms=float(np.quantile(latency, 0.95)),
        device_seconds=float(device.mean()),
        device_seconds_p95=float(np.quantile(device, 0.95)),
    )


def _given(runs: Sequence[MeasuredRun], confidences: Vector) -> npt.NDArray[np.bool_]:
    """Whether an answer there is would be given at each threshold [runs, thresholds].

    Where a profile withholds at all it also withholds what is less likely right than that there is no answer.
    """
    thresholds = np.array(THRESHOLDS)
    no_answer = np.array([0.0 if run.features is None else run.features.no_answer for run in runs])
    likely = confidences >= no_answer
    return (confidences[:, None] >= thresholds) & (likely[:, None] | (thresholds <= 0))
