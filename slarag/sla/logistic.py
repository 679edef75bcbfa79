"""Logistic regression with a ridge towards given weights and signs that the weights must keep."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

_STEPS = 50
_TOLERANCE = 1e-9


def sigmoid(value: float) -> float:
    """1 / (1 + exp(-value)), without overflow."""
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    e = math.exp(value)
    return e / (1 + e)


def fit_signed_logistic(x: Vector, y: Vector, *, prior: Vector, ridge: float, signs: Sequence[int]) -> Vector:
    """Weights [k] that minimise log loss of `x` [n, k] against `y` [n] in {0, 1} plus ridge/2 |w - prior|^2.

    Newton steps on the free weights (iteratively reweighted least squares); a weight that would cross 0 against its sign
    is held at 0, and released when the gradient pulls it back (projected Newton, Bertsekas 1982). Deterministic.
    """
    sign = np.asarray(signs)
    weights = _project(prior.astype(np.float64), sign)
    loss = _loss(x, y, weights, prior, ridge)
    for _ in range(_STEPS):
        p = _sigmoids(x @ weights)
        gradient = x.T @ (p - y) + ridge * (weights - prior)
        held = (weights == 0) & (sign != 0) & (gradient * sign > 0)
        step = _newton_step(x, p, gradient, ridge, ~held)
        weights, new_loss = _line_search(x, y, weights, step, prior, ridge, sign, loss)
        if loss - new_loss < _TOLERANCE:
            break
        loss = new_loss
    return weights


def _newton_step(x: Vector, p: Vector, gradient: Vector, ridge: float, free: npt.NDArray[np.bool_]) -> Vector:
    step = np.zeros_like(gradient)
    part = x[:, free]
    hessian = part.T @ (part * (p * (1 - p))[:, None]) + ridge * np.eye(int(free.sum()))
    step[free] = np.linalg.solve(hessian, gradient[free])
    return step


def _line_search(
    x: Vector,
    y: Vector,
    weights: Vector,
    step: Vector,
    prior: Vector,
    ridge: float,
    sign: npt.NDArray[np.int_],
    loss: float,
) -> tuple[Vector, float]:
    size = 1.0
    for _ in range(30):
        candidate = _project(weights - size * step, sign)
        new_loss = _loss(x, y, candidate, prior, ridge)
        if new_loss <= loss:
            return candidate, new_loss
        size /= 2
    return weights, loss


def _project(weights: Vector, sign: npt.NDArray[np.int_]) -> Vector:
    return np.where(weights * sign < 0, 0.0, weights)


def _loss(x: Vector, y: Vector, weights: Vector, prior: Vector, ridge: float) -> float:
    z = x @ weights
    return float(np.logaddexp(0, z).sum() - y @ z + ridge / 2 * ((weights - prior) ** 2).sum())


def _sigmoids(z: Vector) -> Vector:
    return np.exp(-np.logaddexp(0, -z))
