"""Expected F1: what the confidence in an answer comes to in token F1."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .cells import Cell

_LEAST_QUESTIONS = 50


@dataclass(frozen=True, kw_only=True, slots=True)
class ExpectedF1:
    """of_right, of_wrong: mean token F1, in [0, 1], of the answers that count as right, and of those that do not."""

    of_right: float = 1.0
    of_wrong: float = 0.0

    def at(self, confidence: float) -> float:
        """The expected F1 of an answer that is right with probability `confidence`."""
        return confidence * self.of_right + (1 - confidence) * self.of_wrong


def fit_expected_f1(cells: Sequence[Cell]) -> ExpectedF1:
    """What was measured, by least squares over the cells: mean F1 = share right * of_right + share wrong * of_wrong.

    With few questions it stays at 1 and 0, where the expected F1 is the confidence.
    """
    of_plans = [cell for cell in cells if cell.intent == "any"]
    if sum(cell.n for cell in of_plans) < _LEAST_QUESTIONS:
        return ExpectedF1()
    wrong = np.array([cell.wrong[0] for cell in of_plans])
    right = np.array([cell.given[0] for cell in of_plans]) - wrong
    weight = np.sqrt(np.array([float(cell.n) for cell in of_plans]))
    shares = np.stack([right, wrong], axis=1) * weight[:, None]
    found = np.linalg.lstsq(shares, weight * np.array([cell.f1 for cell in of_plans]), rcond=None)[0]
    of_right, of_wrong = np.clip(found, 0.0, 1.0).tolist()
    return ExpectedF1(of_right=of_right, of_wrong=min(of_wrong, of_right))
