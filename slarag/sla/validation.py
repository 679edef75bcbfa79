"""How good a calibration's predictions are on questions that it was not fitted to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from .cell_fit import confidence_of
from .conditions import Conditions
from .confidence import expected_calibration_error
from .intents import IntentPrediction
from .measured_run import MeasuredRun
from .plan import Plan
from .prediction import Prediction

if TYPE_CHECKING:
    from .calibration import Calibration

Vector = npt.NDArray[np.float64]

THRESHOLD = 0.5
"""The confidence at which the wrong-answer rate is compared."""

OF_PLANS = frozenset(
    ("questions", "runs", "f1_bias", "f1_mae", "latency_p95_coverage", "latency_high_coverage", "usd_high_coverage")
)
"""The figures that the confidence has no part in."""


def validate(calibration: Calibration, plans: Mapping[str, Plan], runs: Sequence[MeasuredRun]) -> dict[str, float]:
    """Figures of `calibration` on `runs` (not empty) of other questions.

    questions, runs: how many. ece, brier: of the confidence, and brier_of_mean that of always saying the mean.
    f1_bias, f1_mae: predicted less measured mean F1 per plan, and its mean size. wrong_bias: the same of the wrong-
    answer rate over all runs at confidence 0.5. latency_p95_coverage: share of the runs within the predicted 95th
    percentile, and latency_high_coverage within its upper bound. usd_high_coverage: share of the runs within the
    cost's upper bound.
    """
    predictions = _predictions(calibration, plans, runs)
    figures = {
        "questions": _questions(runs),
        "runs": float(len(runs)),
        **_confidence(runs, np.array([confidence_of(run, calibration.confidence) for run in runs])),
        **_quality(predictions, runs),
        "wrong_bias": _wrong_bias(calibration, predictions, runs),
        "latency_p95_coverage": _share(
            p.latency_ms.mean >= r.latency_ms for p, r in zip(predictions, runs, strict=True)
        ),
        "latency_high_coverage": _share(
            p.latency_ms.high >= r.latency_ms for p, r in zip(predictions, runs, strict=True)
        ),
        "usd_high_coverage": _share(
            p.usd.high >= r.device_seconds * calibration.usd_per_device_second
            for p, r in zip(predictions, runs, strict=True)
        ),
    }
    return {name: round(value, 5) for name, value in figures.items()}


def validate_others(runs: Sequence[MeasuredRun], confidences: Vector) -> dict[str, float]:
    """Figures of `confidences` [runs] alone, from models that never saw the run's question, named `others_`."""
    figures = {"questions": _questions(runs), "runs": float(len(runs)), **_confidence(runs, confidences)}
    return {f"others_{name}": round(value, 5) for name, value in figures.items()}


def _questions(runs: Sequence[MeasuredRun]) -> float:
    return float(len({run.question_id or str(index) for index, run in enumerate(runs)}))


def _predictions(calibration: Calibration, plans: Mapping[str, Plan], runs: Sequence[MeasuredRun]) -> list[Prediction]:
    idle = Conditions()
    found: dict[tuple[str, str], Prediction] = {}
    for run in runs:
        if (run.plan_key, run.intent) not in found:
            intent = IntentPrediction.certain(run.intent)
            found[run.plan_key, run.intent] = calibration.predict(
                plans[run.plan_key], intent, idle, threshold=THRESHOLD
            )
    return [found[run.plan_key, run.intent] for run in runs]


def _confidence(runs: Sequence[MeasuredRun], confidences: Vector) -> dict[str, float]:
    answered = np.array([run.features is not None for run in runs])
    if not answered.any():
        return {}
    p = confidences[answered]
    right = np.array([float(not run.wrong) for run in runs])[answered]
    return {
        "ece": expected_calibration_error(p, right),
        "brier": float(((p - right) ** 2).mean()),
        "brier_of_mean": float(right.var()),
    }


def _quality(predictions: Sequence[Prediction], runs: Sequence[MeasuredRun]) -> dict[str, float]:
    gaps: dict[str, list[float]] = defaultdict(list)
    for prediction, run in zip(predictions, runs, strict=True):
        gaps[run.plan_key].append(prediction.f1.mean - run.f1)
    means = np.array([np.mean(gap) for gap in gaps.values()])
    return {"f1_bias": float(means.mean()), "f1_mae": float(np.abs(means).mean())}


def _wrong_bias(calibration: Calibration, predictions: Sequence[Prediction], runs: Sequence[MeasuredRun]) -> float:
    """Over the runs that would be answered at `THRESHOLD`; 0 when there are none."""
    confident = [confidence_of(run, calibration.confidence) >= THRESHOLD for run in runs]
    gaps = [
        prediction.wrong_answer_rate.mean - float(run.wrong)
        for prediction, run, sure in zip(predictions, runs, confident, strict=True)
        if sure
    ]
    return float(np.mean(gaps)) if gaps else 0.0


def _share(hits: Iterable[bool]) -> float:
    return float(np.mean(list(hits)))
