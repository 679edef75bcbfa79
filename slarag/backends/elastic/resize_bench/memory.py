"""How much memory pools hold while they change."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..serve.engine import PoolEngine

_EVERY_SECONDS = 0.003


@dataclass(slots=True)
class PeakMemory:
    """The most that `engines` held at once: pages behind their arenas, and what workers hold privately, bytes.

    A worker's private memory counts as far as it is more than the zygote's, which it was forked from.
    """

    engines: list[PoolEngine] = field(default_factory=list[PoolEngine])
    bytes: int = 0

    @asynccontextmanager
    async def watched(self) -> AsyncGenerator[PeakMemory]:
        """Keep the peak within the block."""
        task = asyncio.create_task(self._watch())
        try:
            yield self
        finally:
            task.cancel()

    async def _watch(self) -> None:
        while True:
            self.bytes = max(self.bytes, sum(_held_by(engine) for engine in self.engines))
            await asyncio.sleep(_EVERY_SECONDS)


def _held_by(engine: PoolEngine) -> int:
    devices = list(engine.cluster.devices.values())
    # One file is behind all arenas of a pool.
    arenas = os.fstat(devices[0].attachment.file).st_blocks * 512 if devices else 0
    floor = _private_bytes(engine.cluster.processes.zygote_pid)
    private = (_private_bytes(device.worker.pid) - floor for device in devices if device.worker is not None)
    return arenas + sum(max(0, more) for more in private)


def _private_bytes(pid: int) -> int:
    with contextlib.suppress(OSError):
        # Unlike `status`, this is one short line: it is read hundreds of times a second beside what is measured.
        resident, shared = Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1:3]
        return (int(resident) - int(shared)) * mmap.PAGESIZE
    return 0
