"""Booted workers that wait for a device."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Iterator
from contextlib import contextmanager

from ..errors import WorkerGoneError
from .processes import Processes, WorkerProcess


class Standbys:
    """Keeps up to `wanted` of them. They hold no device memory. get_ready is awaited with each that comes."""

    def __init__(
        self, processes: Processes, wanted: int, get_ready: Callable[[WorkerProcess], Awaitable[None]]
    ) -> None:
        self.wanted = wanted
        self._processes = processes
        self._get_ready = get_ready
        self._holds = 0
        self._waiting: list[WorkerProcess] = []
        self._filling = asyncio.Lock()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[WorkerProcess]:
        return iter(list(self._waiting))

    def take(self) -> WorkerProcess | None:
        """One of them, if there is one."""
        return self._waiting.pop(0) if self._waiting else None

    @contextmanager
    def left_alone(self) -> Generator[None]:
        """Fork none within the block: that takes processor time from what cannot wait."""
        self._holds += 1
        try:
            yield
        finally:
            self._holds -= 1

    def discard(self, worker: WorkerProcess) -> bool:
        """Forget one that ended; returns whether it was one."""
        is_standby = worker in self._waiting
        if is_standby:
            self._waiting.remove(worker)
        return is_standby

    async def fill(self) -> None:
        """Fork what lacks, as far as that goes now; `Watch` asks again."""
        if self._filling.locked():
            return
        async with self._filling:
            while len(self._waiting) < self.wanted and not self._holds:
                try:
                    worker = await self._processes.fork()
                    self._waiting.append(worker)
                    await self._get_ready(worker)
                except WorkerGoneError:
                    return
