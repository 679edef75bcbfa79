"""One writer at a time in an index folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from ...sla.errors import IndexFolderError
from .layout import LOCK


@contextmanager
def exclusive(folder: Path) -> Generator[None]:
    """Hold the lock of `folder`, which must exist; raises `IndexFolderError` while another process holds it.

    The kernel releases the lock of a process that ends in whatever way, so a lock file left behind locks nothing.
    """
    descriptor = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise IndexFolderError(
                f"{str(folder)!r} is being written by process {holder}", remedy="wait until it has finished"
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(descriptor)
