"""What the benchmarks share: figures, the document they print, and its form for people."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from slarag.evals.machine import machine

Figure: TypeAlias = dict[str, Any]
"""`{value, unit, low, high, n}`."""

_RESAMPLES = 1000
_Z = 1.959963984540054


def spread(values: Sequence[float], unit: str) -> Figure:
    """The median of a few rounds, with the least and the greatest."""
    return _figure(statistics.median(values), unit, min(values), max(values), len(values))


def median(values: Sequence[float], unit: str) -> Figure:
    """The median with its 95 % bootstrap interval (Efron 1979)."""
    data = np.asarray(values, dtype=np.float64)
    drawn = np.median(np.random.default_rng(0).choice(data, (_RESAMPLES, len(data))), axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return _figure(float(np.median(data)), unit, float(low), float(high), len(values))


def share(hits: int, total: int) -> Figure:
    """`hits` of `total` with Wilson's 95 % interval (1927)."""
    rate = hits / total
    centre = (rate + _Z**2 / (2 * total)) / (1 + _Z**2 / total)
    half = _Z / (1 + _Z**2 / total) * math.sqrt(rate * (1 - rate) / total + _Z**2 / (4 * total**2))
    return _figure(rate, "share", max(0.0, centre - half), min(1.0, centre + half), total)


def document(workload: Mapping[str, Any], figures: Mapping[str, Figure]) -> dict[str, Any]:
    """The document that every benchmark prints."""
    return {"schema": 1, "machine": machine(), "workload": dict(workload), "figures": dict(figures)}


def show(printed: Mapping[str, Any], *, as_json: bool) -> None:
    """Print a document as JSON, or a line a figure."""
    if as_json:
        print(json.dumps(printed, indent=1))
        return
    print(", ".join(f"{name} {value}" for name, value in printed["workload"].items()))
    for name, found in printed["figures"].items():
        interval = f"[{found['low']:.3f}, {found['high']:.3f}]"
        print(f"{name:36} {found['value']:10.3f} {found['unit']:14} {interval} n={found['n']}")


def _figure(value: float, unit: str, low: float, high: float, n: int) -> Figure:
    return {"value": value, "unit": unit, "low": low, "high": high, "n": n}
