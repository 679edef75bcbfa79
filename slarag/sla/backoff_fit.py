"""From cells to the back-off: ridge regressions towards the prior."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from .backoff import PRIOR, Backoff, curve_terms, quality_terms, time_terms
from .cells import Cell
from .intents import Intent
from .plan import Plan
from .work import work

Vector = npt.NDArray[np.float64]

_QUALITY_RIDGE = 8.0  # questions' worth of the prior, per term
_CURVE_RIDGE = 40.0
_TIME_RIDGE = 0.5  # cells' worth
_ENOUGH_FOR_TAIL = 20
_SPREAD_WEIGHT = 100.0  # cells' worth of the prior


def fit_backoff(cells: Sequence[Cell], plans: Mapping[str, Plan], prior: Backoff = PRIOR) -> Backoff:
    """The back-off that fits `cells`; cells of plans that are not among `plans` (by key) are left out."""
    known = [cell for cell in cells if cell.plan in plans]
    detail = [cell for cell in known if cell.intent != "any"]
    pooled = [cell for cell in known if cell.intent == "any"]
    if not detail or not pooled:
        return prior
    return _fit_times(pooled, plans, _fit_curves(detail, plans, _fit_quality(detail, plans, prior)))


def _fit_quality(cells: Sequence[Cell], plans: Mapping[str, Plan], prior: Backoff) -> Backoff:
    x = np.stack([quality_terms(plans[cell.plan], _intent(cell)) for cell in cells])
    y = np.array([cell.f1 for cell in cells])
    n = np.array([float(cell.n) for cell in cells])
    weights = _ridge(x, y, n, np.array(prior.quality), _QUALITY_RIDGE)
    noise = np.array([cell.f1_se for cell in cells]) ** 2
    spread = max(float((n * ((y - x @ weights) ** 2 - noise)).sum() / n.sum()), 0.0)
    variance = (_SPREAD_WEIGHT * prior.quality_sd**2 + len(cells) * spread) / (_SPREAD_WEIGHT + len(cells))
    return replace(prior, quality=tuple(weights.tolist()), quality_sd=float(np.sqrt(variance)))


def _fit_curves(cells: Sequence[Cell], plans: Mapping[str, Plan], prior: Backoff) -> Backoff:
    x = np.concatenate([curve_terms(plans[cell.plan], np.array([cell.f1])) for cell in cells])
    n = np.array([float(cell.n) for cell in cells])
    given = _ridge(x, np.array([cell.given for cell in cells]), n, np.array(prior.given).T, _CURVE_RIDGE)
    wrong = _ridge(x, np.array([cell.wrong for cell in cells]), n, np.array(prior.wrong).T, _CURVE_RIDGE)
    return replace(prior, given=_rows(given.T), wrong=_rows(wrong.T))


def _fit_times(cells: Sequence[Cell], plans: Mapping[str, Plan], prior: Backoff) -> Backoff:
    """Device time per reading is a weighted geometric mean; latency is fitted to relative errors, as times differ by
    factors.
    """
    n = np.array([float(cell.n) for cell in cells])
    per_reading = np.array([max(cell.device_seconds, 1e-9) / work(plans[cell.plan]) for cell in cells])
    median = np.array([max(cell.latency_p50_ms, 0.1) for cell in cells])
    x = np.stack([time_terms(plans[cell.plan], cell.device_seconds) for cell in cells]) / median[:, None]
    scale = np.array([1 / 100, 1 / 100, 1 / 100, 1.0])
    weights = _ridge(x / scale, np.ones(len(cells)), np.ones(len(cells)), np.array(prior.time) * scale, _TIME_RIDGE)
    return replace(
        prior,
        seconds_per_reading=float(np.exp((n * np.log(per_reading)).sum() / n.sum())),
        time=tuple(np.maximum(weights / scale, 0.0).tolist()),
        tail=_tail([(cell.latency_p95_ms, cell.latency_p50_ms, cell.n) for cell in cells], prior.tail),
        device_tail=_tail(
            [(cell.device_seconds_p95, cell.device_seconds, cell.n) for cell in cells], prior.device_tail
        ),
    )


def _tail(rows: Sequence[tuple[float, float, int]], prior: float) -> float:
    """The median ratio of the 95th percentile to the middle, over cells that can tell it."""
    ratios = [high / middle for high, middle, n in rows if n >= _ENOUGH_FOR_TAIL and middle > 0]
    return max(1.0, float(np.median(ratios))) if ratios else prior


def _ridge(x: Vector, y: Vector, n: Vector, prior: Vector, ridge: float) -> Vector:
    """Weights that minimise sum n (y - x w)^2 + ridge |w - prior|^2; `y` [rows] or [rows, outputs]."""
    weighted = x * n[:, None]
    left: Vector = x.T @ weighted + ridge * np.eye(x.shape[1])
    return np.asarray(np.linalg.solve(left, weighted.T @ y + ridge * prior), dtype=np.float64)


def _rows(table: Vector) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(row) for row in table.tolist())


def _intent(cell: Cell) -> Intent:
    if cell.intent == "any":
        raise ValueError("a pooled cell has no intent")
    return cell.intent
