"""Differences between two runs on the same questions: their size with an interval, and whether chance would do."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .intervals import Figure, mean, statistic

RESAMPLES = 10_000
_AT_ONCE = 4_000_000
_POWER_Z = 1.959963984540054 + 0.8416212335729143  # two-sided 5 % level, 80 % power

Vector = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]
Measure = Callable[[Rows], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Paired:
    """One metric of A and of B over the questions that both measured.

    difference: B minus A, with its 95 % interval by a bootstrap over the pairs. p: of a two-sided permutation test that
    swaps within pairs. detectable: the smallest true difference that so many pairs would show at the 5 % level in 80 %
    of repetitions. The last two are None for what is no mean over questions, detectable also for a single pair.
    """

    a: float
    b: float
    difference: Figure
    p: float | None
    detectable: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class McNemar:
    """Wrong answers of one side only, and the exact two-sided p that both sides err equally often (McNemar, 1947)."""

    only_a: int
    only_b: int
    both: int
    p: float


def paired_mean(pairs: Sequence[tuple[float, float]], *, seed: int = 0) -> Paired | None:
    """The difference of the means of `pairs` of A and B; None without any."""
    if not pairs:
        return None
    values = np.array(pairs, dtype=np.float64)
    difference: Vector = values[:, 1] - values[:, 0]
    return Paired(
        a=float(values[:, 0].mean()),
        b=float(values[:, 1].mean()),
        difference=mean(difference.tolist(), seed=seed),
        p=permutation_p(difference, seed=seed),
        detectable=detectable(difference),
    )


def paired_statistic(n: int, of_a: Measure, of_b: Measure, *, seed: int = 0) -> Paired | None:
    """The difference of any statistic of `n` pairs, given for each side as a function of their indices."""
    if n == 0:
        return None
    everything = np.arange(n)
    return Paired(
        a=of_a(everything),
        b=of_b(everything),
        difference=statistic(n, lambda at: of_b(at) - of_a(at), seed=seed),
        p=None,
        detectable=None,
    )


def mcnemar(wrong: Sequence[tuple[bool, bool]]) -> McNemar | None:
    """Which of A and B were `wrong`, compared; None without pairs."""
    from scipy.stats import binomtest

    if not wrong:
        return None
    only_a = sum(a and not b for a, b in wrong)
    only_b = sum(b and not a for a, b in wrong)
    discordant = only_a + only_b
    p = float(binomtest(only_a, discordant).pvalue) if discordant else 1.0
    return McNemar(only_a=only_a, only_b=only_b, both=sum(a and b for a, b in wrong), p=p)


def permutation_p(difference: Vector, *, seed: int = 0) -> float:
    """Two-sided p that the pairs' sides are exchangeable (Fisher, 1935): exact for few pairs, else by `RESAMPLES`."""
    # Pairs without a difference are the same under any swap, so leaving them out changes nothing but the time.
    changed = difference[difference != 0]
    if len(changed) < 2:
        return 1.0  # either sign is as extreme as the other
    bound = abs(float(changed.sum())) * (1 - 1e-12)
    if 2 ** len(changed) <= RESAMPLES:
        return float((np.abs(_every_sum(changed)) >= bound).mean())
    return (1 + _as_extreme(changed, bound, np.random.default_rng(seed))) / (1 + RESAMPLES)


def detectable(difference: Vector) -> float | None:
    """The smallest true mean of `difference` that would show; None for a single pair."""
    n = len(difference)
    return _POWER_Z * float(difference.std(ddof=1)) / math.sqrt(n) if n > 1 else None


def _every_sum(difference: Vector) -> Vector:
    """The sums under all ways to swap."""
    swapped = (np.arange(2 ** len(difference))[:, None] >> np.arange(len(difference))) & 1
    return _sums(swapped, difference)


def _as_extreme(difference: Vector, bound: float, rng: np.random.Generator) -> int:
    """How many of `RESAMPLES` random ways to swap give a sum of at least `bound`, either way."""
    n = len(difference)
    rows = max(1, _AT_ONCE // n)
    hits = 0
    for done in range(0, RESAMPLES, rows):
        drawn = rng.integers(0, 256, size=(min(rows, RESAMPLES - done), -(-n // 8)), dtype=np.uint8)
        hits += int((np.abs(_sums(np.unpackbits(drawn, axis=1, count=n), difference)) >= bound).sum())
    return hits


def _sums(swapped: npt.NDArray[np.integer], difference: Vector) -> Vector:
    return difference.sum() - 2 * (swapped.astype(np.float64) @ difference)
