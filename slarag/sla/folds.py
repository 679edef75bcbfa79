"""Splits of measured runs that keep all runs of one question together."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from .measured_run import MeasuredRun


def folds(runs: Sequence[MeasuredRun], count: int, *, salt: str = "") -> npt.NDArray[np.intp]:
    """The fold, 0 to `count` - 1, of each run; by a hash of its question, so that it never depends on the order."""
    names = [run.question_id or f"run-{index}" for index, run in enumerate(runs)]
    return np.array([zlib.crc32(f"{salt}/{name}".encode()) % count for name in names], dtype=np.intp)
