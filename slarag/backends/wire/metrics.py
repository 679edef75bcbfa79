"""The few figures that are read from a server's Prometheus page."""

from __future__ import annotations

import math
import re

_SAMPLE = re.compile(r"^([A-Za-z_:][A-Za-z0-9_:]*)(?:\{[^}]*\})?\s+(\S+)", re.MULTILINE)


def metric_sum(page: str, name: str) -> float:
    """The sum of all samples of the metric `name`, over its labels; 0 when there is none."""
    return math.fsum(_number(value) for found, value in _SAMPLE.findall(page) if found == name)


def _number(raw: str) -> float:
    try:
        value = float(raw)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0
