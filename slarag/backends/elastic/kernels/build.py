"""Compiles `kernels.cpp` and its headers once per machine and source, and loads them."""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).with_name("kernels.cpp")
_FLAGS = ("-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-pthread", "-Wno-psabi")
_COMPILERS = ("c++", "g++", "clang++")
_COMPILE_SECONDS = 120


@cache
def library() -> ctypes.CDLL | None:
    """The kernels, compiled where that was not done before; None where they cannot be."""
    file = compiled()
    return None if file is None else ctypes.CDLL(str(file))


@cache
def compiled() -> Path | None:
    """The compiled kernels; takes seconds the first time. None without a compiler or a place to keep them."""
    compiler = next(filter(None, map(shutil.which, _COMPILERS)), None)
    if compiler is None:
        return None
    try:
        file = cache_folder() / f"kernels-{_key(compiler)}.so"
        if not file.exists():
            _compile(compiler, file)
    except (OSError, subprocess.SubprocessError) as error:
        logging.getLogger(__name__).warning("kernels were not compiled, torch is used instead: %s", error)
        return None
    return file


def cache_folder() -> Path:
    """Where compiled kernels are kept: `$XDG_CACHE_HOME/slarag`, else `~/.cache/slarag`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "slarag"


def _key(compiler: str) -> str:
    """What the result depends on: source, flags, compiler, and what the processor can."""
    sources = [file.read_bytes() for file in (SOURCE, *sorted(SOURCE.parent.glob("*.h")))]
    parts = [*sources, " ".join(_FLAGS).encode(), os.path.realpath(compiler).encode(), _processor().encode()]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def _processor() -> str:
    found = Path("/proc/cpuinfo")
    lines = found.read_text(encoding="utf-8").splitlines() if found.exists() else []
    wanted = [line for line in lines if line.startswith(("flags", "Features", "model name"))]
    return "\n".join([platform.machine(), *sorted(set(wanted))])


def _compile(compiler: str, file: Path) -> None:
    """Into a folder that is the user's alone; moved into place whole, so that two at once do no harm."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        made = Path(folder) / file.name
        command = [compiler, *_FLAGS, str(SOURCE), "-o", str(made)]
        subprocess.run(command, check=True, capture_output=True, timeout=_COMPILE_SECONDS, stdin=subprocess.DEVNULL)
        made.replace(file)
