"""Booted workers that wait for a device."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from ..errors import WorkerGoneError
from .processes import Processes, WorkerProcess


class Standbys:
    """Keeps up to `wanted` of them. They hold no device memory."""

    def __init__(self, processes: Processes, wanted: int) -> None:
        self.wanted = wanted
        self._processes = processes
        self._waiting: list[WorkerProcess] = []
        self._filling = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[WorkerProcess]:
        return iter(list(self._waiting))

    def take(self) -> WorkerProcess | None:
        """One of them, if there is one."""
        return self._waiting.pop(0) if self._waiting else None

    def discard(self, worker: WorkerProcess) -> bool:
        """Forget one that ended; returns whether it was one."""
        is_standby = worker in self._waiting
        if is_standby:
            self._waiting.remove(worker)
        return is_standby

    async def fill(self) -> None:
        """Fork what lacks, as far as that goes now."""
        if self._filling.locked():
            return
        async with self._filling:
            while len(self._waiting) < self.wanted:
                try:
                    worker = await self._processes.fork()
                except WorkerGoneError:
                    return
                self._waiting.append(worker)
