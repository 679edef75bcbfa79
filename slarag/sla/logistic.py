"""Logistic regression with a ridge towards given weights and signs that the weights must keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

_STEPS = 50
_HALVINGS = 30
_TOLERANCE = 1e-9


def sigmoid(value: float) -> float:
    """1 / (1 + exp(-value)), without overflow."""
    if value >= 0:
        return 1 / (1 + math.exp(-value))
    e = math.exp(value)
    return e / (1 + e)


@dataclass(frozen=True, slots=True)
class _Problem:
    """Log loss of `x` [n, k] against `y` [n] plus ridge/2 |w - prior|^2, over weights that keep their `sign`."""

    x: Vector
    y: Vector
    prior: Vector
    ridge: float
    sign: npt.NDArray[np.int_]

    def loss(self, weights: Vector) -> float:
        z = self.x @ weights
        pull = self.ridge / 2 * ((weights - self.prior) ** 2).sum()
        return float(np.logaddexp(0, z).sum() - self.y @ z + pull)

    def project(self, weights: Vector) -> Vector:
        return np.where(weights * self.sign < 0, 0.0, weights)

    def newton_step(self, weights: Vector) -> Vector:
        """The step of the weights that may move; one at 0 that the gradient pushes across stays."""
        p = np.exp(-np.logaddexp(0, -(self.x @ weights)))
        gradient = self.x.T @ (p - self.y) + self.ridge * (weights - self.prior)
        free = ~((weights == 0) & (gradient * self.sign > 0))
        part = self.x[:, free]
        hessian = part.T @ (part * (p * (1 - p))[:, None]) + self.ridge * np.eye(int(free.sum()))
        step = np.zeros_like(gradient)
        step[free] = np.linalg.solve(hessian, gradient[free])
        return step

    def search(self, weights: Vector, step: Vector, loss: float) -> tuple[Vector, float]:
        """Halve the step until the loss does not rise; the weights themselves if it always does."""
        for halvings in range(_HALVINGS):
            candidate = self.project(weights - step / 2**halvings)
            new_loss = self.loss(candidate)
            if new_loss <= loss:
                return candidate, new_loss
        return weights, loss


def fit_signed_logistic(x: Vector, y: Vector, *, prior: Vector, ridge: float, signs: Sequence[int]) -> Vector:
    """Weights [k] that minimise log loss of `x` [n, k] against `y` [n] in {0, 1} plus ridge/2 |w - prior|^2.

    Newton steps on the free weights (iteratively reweighted least squares); a weight that would cross 0 against its
    sign is held at 0, and released when the gradient pulls it back (projected Newton, Bertsekas 1982). Deterministic.
    """
    problem = _Problem(x, y, prior, ridge, np.asarray(signs))
    weights = problem.project(prior.astype(np.float64))
    loss = problem.loss(weights)
    for _ in range(_STEPS):
        weights, new_loss = problem.search(weights, problem.newton_step(weights), loss)
        if loss - new_loss < _TOLERANCE:
            break
        loss = new_loss
    return weights
