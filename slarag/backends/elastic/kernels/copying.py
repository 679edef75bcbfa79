"""Copies of memory, for a process that loads no tensor library."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

from .build import library


def copy(target: int, source: int, num_bytes: int) -> None:
    """Copy between addresses what is not read here soon; the interpreter is left to other threads meanwhile."""
    _copy()(target, source, num_bytes)


@cache
def _copy() -> Callable[[int, int, int], object]:
    kernels = library()
    if kernels is None:
        return ctypes.memmove
    kernels.copy.argtypes, kernels.copy.restype = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64], None
    return kernels.copy
