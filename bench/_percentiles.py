"""Figures of order statistics, and of things that are counted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from _common import Figure

_RESAMPLES = 1000


def quantile(values: Sequence[float], at: float, unit: str) -> Figure:
    """The order statistic at `at`, in [0, 1], with its 95 % bootstrap interval (Efron 1979)."""
    data = np.asarray(values, dtype=np.float64)
    drawn = np.random.default_rng(0).choice(data, (_RESAMPLES, len(data)))
    low, high = np.quantile(np.quantile(drawn, at, axis=1), (0.025, 0.975))
    value = float(np.quantile(data, at))
    return {"value": value, "unit": unit, "low": float(low), "high": float(high), "n": len(values)}


def counted(value: float, unit: str, n: int) -> Figure:
    """A figure that is counted, not sampled."""
    return {"value": value, "unit": unit, "low": value, "high": value, "n": n}
