"""Confidence: from what the agents saw to the probability that the answer is right.

A logistic regression per group (kind of answer, and whether its passages were given or found), ridge-shrunk
towards one over all groups, with the signs of its weights held to sense (more agreement never lowers the confidence),
then a monotone piecewise-linear map that takes out what bend is left.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from .logistic import fit_signed_logistic, sigmoid
from .monotone import IDENTITY, MonotoneMap, fit_monotone

Vector = npt.NDArray[np.float64]

FEATURES = (
    *("bias", "top", "margin", "no_answer", "agreement", "supported", "refuted", "verified", "passages"),
    *("chained", "chained_top", "chained_no_answer", "coverage"),
)
SIGNS = (0, 1, 1, -1, 1, 1, -1, 0, 0, 0, 1, -1, 1)
"""The sign that each weight is held to; 0 leaves it free."""

_CLIP = 1e-3
_MIN_ROWS_FOR_MAP = 200
_ROWS_PER_KNOT = 500
_FEWEST_KNOTS, _MOST_KNOTS = 12, 24


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfidenceFeatures:
    """What is known about an answer, the probabilities each in [0, 1].

    top: the backend's probability of the answer. margin: its lead over the next different one. no_answer: probability
    that the passages hold none. agreement: share of replicas that agree. supported, refuted: the support check's
    verdict, 0 without one. verified: whether there was a support check. kind: the kind of answer asked for. intent:
    the question's. given: whether the caller gave the passages, rather than retrieval. passages: how many were read.
    chained: probability that the question needs a chain of facts; a reading sees one of them, so what the reader says
    of such a question counts by weights of its own. coverage: share of the question's words that stand in the passage
    that bears the answer out.
    """

    top: float
    margin: float
    no_answer: float
    agreement: float
    supported: float = 0.0
    refuted: float = 0.0
    verified: bool = False
    kind: str = "span"
    intent: str = "factoid"
    given: bool = False
    passages: int = 1
    chained: float = 0.0
    coverage: float = 1.0

    def __post_init__(self) -> None:
        for name in ("top", "margin", "no_answer", "agreement", "supported", "refuted", "chained", "coverage"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], not {getattr(self, name)!r}")

    @property
    def group(self) -> str:
        """The group of answers that share their weights."""
        return f"{self.kind}, {'given' if self.given else 'found'}"

    def vector(self) -> Vector:
        """The features as `FEATURES` orders them, probabilities as log-odds."""
        checked, single = float(self.verified), 1 - self.chained
        return np.array(
            [
                1.0,
                single * _logit(self.top),
                self.margin,
                single * _logit(self.no_answer),
                self.agreement,
                checked * self.supported,
                checked * self.refuted,
                checked,
                math.log2(max(1, self.passages)),
                self.chained,
                self.chained * _logit(self.top),
                self.chained * _logit(self.no_answer),
                self.coverage,
            ]
        )

    def to_dict(self) -> dict[str, float | bool | str]:
        """The fields as plain JSON values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, kw_only=True, slots=True)
class ConfidenceModel:
    """Weights over `FEATURES` for every group measured, for all others those of `shared`; then `curve`."""

    shared: tuple[float, ...]
    groups: Mapping[str, tuple[float, ...]] = field(default_factory=dict[str, tuple[float, ...]])
    curve: MonotoneMap = IDENTITY

    def probability(self, features: ConfidenceFeatures) -> float:
        """The probability in [0, 1] that the answer is right."""
        weights = self.groups.get(features.group, self.shared)
        raw = sigmoid(float(features.vector() @ np.array(weights)))
        return self.curve(raw)

    def to_dict(self) -> dict[str, Any]:
        """The model as plain JSON values."""
        return {
            "features": list(FEATURES),
            "shared": list(self.shared),
            "groups": {group: list(weights) for group, weights in sorted(self.groups.items())},
            "curve": self.curve.to_dict(),
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> ConfidenceModel:
        """A model from `to_dict`'s result; raises `ValueError` when it does not fit this version's features."""
        if tuple(raw["features"]) != FEATURES:
            raise ValueError(f"a confidence model over {raw['features']!r}, not {list(FEATURES)}")
        groups = {str(group): _weights(weights) for group, weights in raw["groups"].items()}
        return cls(shared=_weights(raw["shared"]), groups=groups, curve=MonotoneMap.from_dict(raw["curve"]))


PRIOR = ConfidenceModel(shared=(0.0, 0.7, 0.5, -0.2, 0.5, 1.0, -2.0, -0.5, 0.0, 0.0, 0.7, -0.2, 0.0))
"""A guess for use before anything has been measured."""


def fit_confidence(rows: Iterable[tuple[ConfidenceFeatures, bool]], *, ridge: float = 4.0) -> ConfidenceModel:
    """Fit a model to answered questions, each with whether it was right; with no rows the result is `PRIOR`.

    ridge: how many units of information the prior weighs (the shared fit for each group, `PRIOR` for the shared fit).
    """
    pairs = list(rows)
    if not pairs:
        return PRIOR
    x = np.stack([features.vector() for features, _ in pairs])
    y = np.array([float(correct) for _, correct in pairs])
    of_group = np.array([features.group for features, _ in pairs])
    shared = fit_signed_logistic(x, y, prior=np.array(PRIOR.shared), ridge=ridge, signs=SIGNS)
    groups = {
        str(group): fit_signed_logistic(
            x[of_group == group], y[of_group == group], prior=shared, ridge=ridge, signs=SIGNS
        )
        for group in np.unique(of_group)
    }
    raw = np.array([sigmoid(float(row @ groups[str(group)])) for row, group in zip(x, of_group, strict=True)])
    # Flat beyond its last knots, the map must end near 0 and 1: more rows, more knots.
    knots = min(_MOST_KNOTS, max(_FEWEST_KNOTS, len(y) // _ROWS_PER_KNOT))
    curve = fit_monotone(raw, y, groups=knots) if len(y) >= _MIN_ROWS_FOR_MAP else IDENTITY
    return ConfidenceModel(
        shared=tuple(map(float, shared)),
        groups={group: tuple(map(float, weights)) for group, weights in groups.items()},
        curve=curve,
    )


def expected_calibration_error(
    probabilities: Sequence[float] | Vector, correct: Sequence[bool] | npt.NDArray[Any], bins: int = 10
) -> float:
    """The expected calibration error over `bins` bins of equal width, in [0, 1].

    The mean over the bins, weighted by their share of the answers, of |mean probability - share correct| (Naeini et al.
    2015; Guo et al. 2017). Bin i holds i/bins <= p < (i+1)/bins, the last one also p = 1. Nothing gives 0.
    """
    p = np.asarray(probabilities, dtype=np.float64)
    right = np.asarray(correct, dtype=np.float64)
    if p.shape != right.shape or p.ndim != 1:
        raise ValueError(f"{p.shape} probabilities do not go with {right.shape} outcomes")
    if not p.size:
        return 0.0
    at = np.minimum((p * bins).astype(np.intp), bins - 1)
    gaps = np.bincount(at, weights=p - right, minlength=bins)
    return float(np.abs(gaps).sum() / p.size)


def _logit(p: float) -> float:
    clipped = min(max(p, _CLIP), 1 - _CLIP)
    return math.log(clipped / (1 - clipped))


def _weights(raw: Sequence[float]) -> tuple[float, ...]:
    if len(raw) != len(FEATURES):
        raise ValueError(f"{len(raw)} weights for {len(FEATURES)} features")
    return tuple(float(weight) for weight in raw)
