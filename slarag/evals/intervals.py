"""95 % intervals: bootstrap for means, order statistics for percentiles, Wilson for shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vector = npt.NDArray[np.float64]

RESAMPLES = 2_000
_CHUNK = 2_000_000
_Z = 1.959963984540054


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """A measured value with its 95 % interval over `n` cases; value is None where nothing was measured."""

    value: float | None
    low: float | None
    high: float | None
    n: int

    def to_dict(self) -> dict[str, float | int | None]:
        """The fields as plain JSON values."""
        return {"value": self.value, "low": self.low, "high": self.high, "n": self.n}


UNMEASURED = Figure(value=None, low=None, high=None, n=0)


def mean(values: Sequence[float], *, seed: int = 0) -> Figure:
    """The mean with a percentile bootstrap interval (Efron, 1979)."""
    if not values:
        return UNMEASURED
    data = np.asarray(values, dtype=np.float64)
    low, high = np.quantile(_resampled_means(data, seed), (0.025, 0.975))
    return Figure(value=float(data.mean()), low=float(low), high=float(high), n=len(data))


def share(hits: Sequence[bool]) -> Figure:
    """The share of true ones with Wilson's score interval (Wilson, 1927)."""
    n = len(hits)
    if n == 0:
        return UNMEASURED
    p = sum(hits) / n
    centre = (p + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    reach = _Z / (1 + _Z**2 / n) * math.sqrt(p * (1 - p) / n + _Z**2 / (4 * n**2))
    return Figure(value=p, low=min(p, max(0.0, centre - reach)), high=max(p, min(1.0, centre + reach)), n=n)


def percentile(values: Sequence[float], q: float) -> Figure:
    """The `q`-th percentile with the interval between the order statistics that binomial quantiles name.

    This is the limit of the bootstrap's percentile interval for a quantile (David and Nagaraja, Order Statistics, 7.1).
    """
    if not values:
        return UNMEASURED
    data = np.sort(np.asarray(values, dtype=np.float64))
    low, high = _order_statistics(len(data), q / 100)
    return Figure(value=float(np.percentile(data, q)), low=float(data[low]), high=float(data[high]), n=len(data))


def statistic(n: int, of: Callable[[npt.NDArray[np.intp]], float], *, seed: int = 0, resamples: int = 400) -> Figure:
    """Any statistic of `n` cases, given as a function of case indices, with a percentile bootstrap interval."""
    if n == 0:
        return UNMEASURED
    rng = np.random.default_rng(seed)
    drawn = [of(rng.integers(0, n, size=n)) for _ in range(resamples)]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Figure(value=of(np.arange(n)), low=float(low), high=float(high), n=n)


def _resampled_means(data: Vector, seed: int) -> Vector:
    rng = np.random.default_rng(seed)
    rows = max(1, min(RESAMPLES, _CHUNK // len(data)))
    parts = [
        data[rng.integers(0, len(data), size=(min(rows, RESAMPLES - at), len(data)))].mean(axis=1)
        for at in range(0, RESAMPLES, rows)
    ]
    return np.concatenate(parts)


def _order_statistics(n: int, p: float) -> tuple[int, int]:
    from scipy.stats import binom

    low, high = binom.ppf((0.025, 0.975), n, p)
    return max(0, int(low) - 1), min(n - 1, int(high))
