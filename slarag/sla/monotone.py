"""A monotone map of [0, 1] onto probabilities: isotonic regression, smoothed to straight pieces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]


def _rises(values: Sequence[float]) -> bool:
    return all(a <= b for a, b in pairwise(values))


@dataclass(frozen=True, slots=True)
class MonotoneMap:
    """Straight lines between the knots (x, y), both never falling; before the first and after the last it is flat.

    The default is the identity on [0, 1].
    """

    x: tuple[float, ...] = (0.0, 1.0)
    y: tuple[float, ...] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if len(self.x) != len(self.y) or not self.x:
            raise ValueError(f"{len(self.x)} and {len(self.y)} knots do not make a map")
        if not (_rises(self.x) and _rises(self.y)) or not 0 <= self.y[0] <= self.y[-1] <= 1:
            raise ValueError("the knots of a monotone map rise, and end in probabilities")

    def __call__(self, value: float) -> float:
        """The image of `value`, in [0, 1]."""
        return float(np.interp(value, self.x, self.y))

    def to_dict(self) -> dict[str, list[float]]:
        """The knots as plain JSON values."""
        return {"x": list(self.x), "y": list(self.y)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> MonotoneMap:
        """A map from `to_dict`'s result."""
        return cls(tuple(map(float, raw["x"])), tuple(map(float, raw["y"])))


IDENTITY = MonotoneMap()


def fit_monotone(x: Vector, y: Vector, *, groups: int = 12, prior_weight: float = 10.0) -> MonotoneMap:
    """Fit `y` [n] in {0, 1} by a rising function of `x` [n] in [0, 1].

    `x` is cut into about `groups` groups of equal size, each group's mean of `y` is shrunk by `prior_weight`
    observations towards its mean of `x`, and the pool-adjacent-violators algorithm (Ayer et al. 1955) makes them
    rise.
    """
    order = np.argsort(x, kind="stable")
    parts = [part for part in np.array_split(order, min(groups, len(order))) if part.size]
    weight = np.array([part.size + prior_weight for part in parts])
    centre = np.array([x[part].mean() for part in parts])
    level = np.array([(y[part].sum() + prior_weight * x[part].mean()) / (part.size + prior_weight) for part in parts])
    rising = pool_adjacent_violators(level, weight)
    return MonotoneMap(tuple(map(float, centre)), tuple(map(float, np.clip(rising, 0, 1))))


def pool_adjacent_violators(level: Vector, weight: Vector) -> Vector:
    """The never-falling sequence [n] nearest to `level` [n] in squares weighted by `weight` [n] > 0."""
    blocks: list[tuple[float, float, int]] = []
    for value, mass in zip(level.tolist(), weight.tolist(), strict=True):
        blocks.append((value, mass, 1))
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            (b, wb, nb), (a, wa, na) = blocks.pop(), blocks.pop()
            blocks.append(((a * wa + b * wb) / (wa + wb), wa + wb, na + nb))
    return np.concatenate([np.full(count, value) for value, _, count in blocks])
