"""The pool: devices with their memory and workers, started, watched, repaired and ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Iterable, Sequence
from typing import Any

from .. import wire
from ..device_layout import SHARED, DeviceLayout
from ..errors import WorkerGoneError
from ..memory.arena import Region
from ..memory.client import MemoryProcess
from ..placement import Placement
from .device import Device
from .options import PoolOptions
from .processes import Processes, WorkerProcess

_EXPERT_REGION = re.compile(r"layers\.(\d+)\.experts\.(\d+)")
_WATCH_SECONDS = 0.1
_ATTEMPTS = 3


class Cluster:
    """A running pool. Whoever changes its devices holds `changing`.

    placement: which device holds which expert now. devices: by number.
    """

    def __init__(
        self,
        options: PoolOptions,
        layout: DeviceLayout,
        placement: Placement,
        memory: MemoryProcess,
        processes: Processes,
    ) -> None:
        self.options = options
        self.layout = layout
        self.placement = placement
        self.memory = memory
        self.devices: dict[int, Device] = {}
        self.changing = asyncio.Lock()
        self.replaced = 0
        self._processes = processes
        self._standbys: list[WorkerProcess] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False

    @classmethod
    async def start(cls, options: PoolOptions) -> Cluster:
        """Start all processes and load the model.

        Raises `CheckpointError`, `DeviceMemoryError` or `WorkerGoneError`, and leaves nothing behind then.
        """
        layout = options.layout()
        placement = Placement.initial(layout.config.sparse_layers, layout.config.num_experts, range(options.devices))
        memory = MemoryProcess.start(options.capacity(layout), layout.page_bytes)
        cluster: Cluster | None = None
        try:
            cluster = cls(options, layout, placement, memory, await Processes.start())
            await cluster._open()
        except BaseException:
            if cluster is not None:
                await cluster.aclose()
            else:
                memory.close()
            raise
        return cluster

    async def _open(self) -> None:
        numbers = self.placement.devices
        for number in numbers:
            await self.add_device(number, self.placement)
        await asyncio.to_thread(self._load, numbers)
        workers = await asyncio.gather(*(self._fork() for _ in numbers))
        for number, worker in zip(numbers, workers, strict=True):
            await self.attach(self.devices[number], worker)
            self.devices[number].serving.set()
        self._start_task(self._refill_standbys())
        self._start_task(self._watch())

    def _load(self, numbers: Sequence[int]) -> None:
        layout = self.layout
        loads = layout.shared_loads(numbers[0])
        for number in numbers:
            for layer, expert in self.placement.held_by(number):
                loads[layout.dtype] += layout.expert_parts(number, layer, expert)
        for dtype, placed in loads.items():
            self.memory.client.load(str(self.options.model), placed, dtype)
        for number in numbers[1:]:
            self.memory.client.copy(numbers[0], number, [SHARED])

    async def add_device(self, number: int, placement: Placement) -> Device:
        """Make a device with memory for what `placement` puts there, and no worker; raises `DeviceMemoryError`."""
        sizes = {**self.layout.sizes(), **self.layout.expert_sizes(placement.held_by(number))}
        await asyncio.to_thread(self.memory.client.add_device, number, sizes)
        attachment = await asyncio.to_thread(self.memory.client.attach, number)
        device = self.devices[number] = Device(number, attachment)
        return device

    async def remove_device(self, device: Device) -> None:
        """End a device's worker and give its memory back."""
        del self.devices[device.number]
        worker, device.worker = device.worker, None
        if worker is not None:
            await self._processes.end(worker)
        device.close()
        await asyncio.to_thread(self.memory.client.remove_device, device.number)

    async def take_standby(self) -> WorkerProcess:
        """A booted worker without memory: a standby if there is one, else one that is forked now."""
        if not self._standbys:
            return await self._fork()
        worker = self._standbys.pop(0)
        self._start_task(self._refill_standbys())
        return worker

    async def attach(self, device: Device, worker: WorkerProcess) -> None:
        """Make `worker` the device's; it maps the device's memory and knows all others. Raises `WorkerGoneError`."""
        device.worker = worker
        peers = [other.as_peer() for other in self.devices.values() if other is not device]
        now = await asyncio.to_thread(self.memory.client.attach, device.number)
        os.close(now.file)
        await worker.channel.request(
            "attach",
            [device.attachment.file, device.inbox[0].fileno(), *(file for _, files in peers for file in files)],
            device=device.number,
            incarnation=device.incarnation,
            threads=self.options.threads,
            layout=self.layout.to_message(),
            regions={name: _encode(region) for name, region in device.attachment.regions.items()},
            experts=_experts_in(now.regions),
            peers=[fields for fields, _ in peers],
            **self.placement.to_message(),
        )

    async def tell(self, device: Device, call: str, files: Sequence[int] = (), /, **fields: Any) -> wire.Message:
        """A request to a device's worker; raises `WorkerGoneError`."""
        if device.worker is None:
            raise WorkerGoneError(f"device {device.number} has no worker")
        return await device.worker.channel.request(call, files, **fields)

    async def tell_all(self, devices: Iterable[Device], call: str, files: Sequence[int] = (), /, **fields: Any) -> None:
        """A request to several devices at the same time; raises the first error after all have answered or failed."""
        results = await asyncio.gather(
            *(self.tell(device, call, files, **fields) for device in devices), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def replace(self, device: Device) -> None:
        """Fence a device's worker and put another in its place, over the same memory. The caller holds `changing`."""
        device.serving.clear()
        for _ in range(_ATTEMPTS):
            if device.worker is not None:
                await self._processes.end(device.worker)
            device.incarnation += 1
            with contextlib.suppress(WorkerGoneError):
                await self.attach(device, await self.take_standby())
                break
        else:
            raise WorkerGoneError(f"device {device.number} got no worker in {_ATTEMPTS} attempts")
        others = [other for other in self.devices.values() if other is not device]
        with contextlib.suppress(WorkerGoneError):
            await self.tell_all(others, "peer_restarted", device=device.number, incarnation=device.incarnation)
        self.replaced += 1
        device.serving.set()

    @property
    def standbys(self) -> int:
        """Booted workers that wait."""
        return len(self._standbys)

    async def aclose(self) -> None:
        """End all processes and give all memory back; nothing is left running or mapped. Twice is fine."""
        if self._is_closing:
            return
        self._is_closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        workers = [device.worker for device in self.devices.values() if device.worker is not None]
        for worker in [*workers, *self._standbys]:
            await self._processes.end(worker)
        for device in self.devices.values():
            device.close()
        await self._processes.aclose()
        await asyncio.to_thread(self.memory.close)

    async def _fork(self) -> WorkerProcess:
        holder: list[WorkerProcess] = []
        worker = await self._processes.fork(lambda: self._on_end(holder))
        holder.append(worker)
        return worker

    def _on_end(self, holder: Sequence[WorkerProcess]) -> None:
        if self._is_closing or not holder:
            return
        worker = holder[0]
        if worker in self._standbys:
            self._standbys.remove(worker)
            self._start_task(self._processes.end(worker))
            self._start_task(self._refill_standbys())
        for device in self.devices.values():
            if device.worker is worker:
                device.serving.clear()
                self._start_task(self._repair(device, worker))

    async def _repair(self, device: Device, worker: WorkerProcess) -> None:
        async with self.changing:
            is_still_broken = self.devices.get(device.number) is device and device.worker is worker
            if is_still_broken and not self._is_closing:
                await self.replace(device)

    async def _refill_standbys(self) -> None:
        while len(self._standbys) < self.options.standbys:
            self._standbys.append(await self._fork())

    async def _watch(self) -> None:
        """Kill workers that are stopped or hang; what follows is the same as for one that died."""
        while True:
            await asyncio.sleep(_WATCH_SECONDS)
            attached = [device.worker for device in self.devices.values() if device.worker is not None]
            for worker in [*attached, *self._standbys]:
                if self._processes.silent_seconds(worker) > self.options.hang_seconds:
                    worker.kill()

    def _start_task(self, work: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _encode(region: Region) -> list[Any]:
    return [region.num_bytes, region.runs]


def _experts_in(regions: dict[str, Region]) -> list[list[Any]]:
    """What the arena holds of experts, whatever a placement says: during a resize a device holds old and new ones."""
    found = ((_EXPERT_REGION.fullmatch(name), region) for name, region in regions.items())
    return [[int(match[1]), int(match[2]), region.runs] for match, region in found if match]
