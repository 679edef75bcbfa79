"""Where workers show that they are alive: a time per worker on a board that the coordinator reads."""

from __future__ import annotations

import mmap
import struct
import time

BEAT = struct.Struct("<d")
"""Monotonic seconds of the last sign of life."""
_EVERY_SECONDS = 0.1


def beat(board: mmap.mmap, slot: int) -> None:
    """Show it for ever; meant for a thread. A process that is stopped stops its threads too."""
    while True:
        BEAT.pack_into(board, slot * BEAT.size, time.monotonic())
        time.sleep(_EVERY_SECONDS)
