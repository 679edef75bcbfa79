"""Requests over time, recorded or made up."""

from __future__ import annotations

import gzip
import json
import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...sla.errors import DataError


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request. at: seconds from the trace's start. deadline_s: seconds that it may take, None for any time."""

    at: float
    input_tokens: int
    output_tokens: int
    deadline_s: float | None = None


def load_trace(file: Path, *, until_s: float = float("inf")) -> list[Arrival]:
    """Read JSON lines with `t`, `input_tokens` and `output_tokens`, and some with `deadline_ms`, plain or gzip.

    Raises `DataError`.
    """
    try:
        with gzip.open(file, "rt") if file.suffix == ".gz" else file.open() as stream:
            arrivals = [_arrival(line) for line in stream if line.strip()]
    except (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError, OverflowError) as error:
        remedy = "give JSON lines with t, input_tokens, output_tokens"
        raise DataError(f"cannot read the trace {str(file)!r}: {error}", remedy=remedy) from error
    return sorted((a for a in arrivals if a.at < until_s), key=lambda a: a.at)


def _arrival(line: str) -> Arrival:
    row = json.loads(line)
    if not isinstance(row, dict):
        raise TypeError(f"{line.strip()[:60]!r} is not an object")
    deadline_ms = row.get("deadline_ms")
    deadline_s = None if deadline_ms is None else float(deadline_ms) / 1000
    return Arrival(float(row["t"]), max(1, int(row["input_tokens"])), max(1, int(row["output_tokens"])), deadline_s)


def waves(seconds: float, *, low: float, high: float, period_s: float, seed: int = 0) -> list[Arrival]:
    """A made-up trace: Poisson arrivals whose rate (1/s) goes between `low` and `high` in steps of half a period."""
    return list(_waves(random.Random(seed), seconds, low, high, period_s))


def _waves(rng: random.Random, seconds: float, low: float, high: float, period_s: float) -> Iterator[Arrival]:
    now = 0.0
    while True:
        rate = high if now % period_s >= period_s / 2 else low
        now += rng.expovariate(rate)
        if now >= seconds:
            return
        yield Arrival(now, rng.randint(50, 1500), rng.randint(20, 400))
