"""Notices workers that end, are stopped or hang, and has others take their place."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from ....sla.errors import SlaragError
from ..errors import WorkerGoneError
from .device import Device
from .processes import WorkerProcess

if TYPE_CHECKING:
    from .cluster import Cluster

_log = logging.getLogger(__name__)
_EVERY_SECONDS = 0.05
_LATE_SECONDS = 0.5
"""A watch that comes this late was held up itself, and the workers with it: their silence says nothing then."""


class Watch:
    """Over a cluster's processes.

    on_lost is called with a device for which no worker can be had; the device stays, with its memory, until somebody
    removes it or `revive` finds a worker for it after all.
    """

    def __init__(self, cluster: Cluster) -> None:
        self.on_lost: Callable[[Device], None] = lambda _: None
        self._cluster = cluster
        self._is_renewing = False
        cluster.processes.on_end = self._on_end

    async def run(self) -> None:
        """Kill workers that are stopped or hang; what follows is the same as for one that died."""
        cluster = self._cluster
        while True:
            started = time.monotonic()
            await asyncio.sleep(_EVERY_SECONDS)
            if time.monotonic() - started < _LATE_SECONDS:
                self._kill_stuck()
            self._look_at_memory()
            cluster.processes.strays.reap()
            if not cluster.processes.can_fork and not self._is_renewing:
                cluster.start_task(self._renew())
            if cluster.standbys < cluster.booted.wanted:
                cluster.start_task(cluster.booted.fill())

    def _look_at_memory(self) -> None:
        if not self._cluster.memory.is_alive and not self._cluster.is_broken:
            self._cluster.is_broken = True
            _log.error("the memory manager is gone: workers that end are not replaced, start the pool again")

    def _kill_stuck(self) -> None:
        cluster = self._cluster
        attached = [device.worker for device in cluster.devices.values() if device.worker is not None]
        for worker in [*attached, *cluster.booted]:
            if cluster.processes.is_stuck(worker, cluster.options.hang_seconds):
                worker.kill()

    async def _renew(self) -> None:
        self._is_renewing = True
        try:
            with contextlib.suppress(WorkerGoneError, OSError):
                await self._cluster.processes.renew()
        finally:
            self._is_renewing = False

    async def revive(self, device: Device) -> bool:
        """Try again to find a worker for a lost device; returns whether it serves."""
        async with self._cluster.changing:
            if device.is_lost and device.number in self._cluster.devices:
                await self._replace(device)
        return not device.is_lost

    def _on_end(self, worker: WorkerProcess) -> None:
        cluster = self._cluster
        if cluster.booted.discard(worker):
            cluster.start_task(cluster.processes.end(worker))
        for device in cluster.devices.values():
            if device.worker is worker:
                device.stop_serving()
                cluster.start_task(self._repair(device, worker))

    async def _repair(self, device: Device, worker: WorkerProcess) -> None:
        async with self._cluster.changing:
            is_still_broken = self._cluster.devices.get(device.number) is device and device.worker is worker
            if not is_still_broken or await self._replace(device):
                return
        self.on_lost(device)

    async def _replace(self, device: Device) -> bool:
        try:
            await self._cluster.replace(device)
        except SlaragError:
            await self._cluster.end_worker(device)
            device.lose()
            return False
        return True
