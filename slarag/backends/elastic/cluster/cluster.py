"""The pool: devices with their memory and workers, started, repaired and ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from typing import Any

from .. import wire
from ..device_layout import SHARED, DeviceLayout
from ..errors import ElasticError, WorkerGoneError
from ..memory import libc
from ..memory.arena import Region
from ..memory.client import MemoryProcess
from ..memory.pages import Run
from ..placement import Move, Placement
from .device import Device
from .options import PoolOptions
from .processes import Processes, WorkerProcess
from .standbys import Standbys
from .together import together
from .watch import Watch

_EXPERT_REGION = re.compile(r"layers\.(\d+)\.experts\.(\d+)")
_ATTEMPTS = 3


class Cluster:
    """A running pool. Whoever changes its devices or their workers holds `changing`.

    placement: which device holds which expert now. devices: by number. booted: the standbys. watch: notices what ends
    or hangs. is_broken: whether a worker that ends can not be replaced any more. replaced: workers that another took
    the place of.
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
        self.processes = processes
        self.devices: dict[int, Device] = {}
        self.changing = asyncio.Lock()
        self.is_broken = False
        self.replaced = 0
        self.booted = Standbys(processes, 0 if "standby" in options.without else options.standbys, self._get_ready)
        self.watch = Watch(self)
        self._dismissed: set[WorkerProcess] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False

    @classmethod
    async def start(cls, options: PoolOptions) -> Cluster:
        """Start all processes and load the model.

        Raises `CheckpointError`, `DeviceMemoryError` or `WorkerGoneError`, and leaves nothing behind then.
        """
        # Whoever waits for a device waits for what is done here, and devices may keep every core busy.
        libc.take_short_turns(True)
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
            await self.add_device(number, self.layout.expert_sizes(self.placement.held_by(number)))
        await asyncio.to_thread(self._load, numbers)
        for number in numbers:
            await self.attach(self.devices[number], await self.processes.fork())
            self.devices[number].start_serving()
        self.start_task(self.booted.fill())
        self.start_task(self.watch.run())

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

    async def add_device(self, number: int, sizes: dict[str, int]) -> Device:
        """Make a device with regions of `sizes` bytes beside those of every device; raises `DeviceMemoryError`."""
        client = self.memory.client
        await asyncio.to_thread(client.add_device, number, {**self.layout.sizes(), **sizes})
        attachment = await asyncio.to_thread(client.attach, number)
        device = self.devices[number] = Device(number, attachment)
        return device

    async def end_worker(self, device: Device) -> None:
        """Fence a device's worker: nothing of it runs afterwards."""
        worker, device.worker = device.worker, None
        if worker is not None:
            await self.processes.end(worker)

    async def remove_device(self, device: Device) -> None:
        """End a device's worker and give its memory back, once nobody can write there any more: others get it."""
        del self.devices[device.number]
        others = list(self.devices.values())
        await together(self._dismiss(device), self.inform(others, "drop_peer", device=device.number))
        device.close()
        await asyncio.to_thread(self.memory.client.remove_device, device.number)

    async def _dismiss(self, device: Device) -> None:
        """Have a device's worker touch nothing any more; nobody waits until its process is gone."""
        worker, device.worker = device.worker, None
        if worker is None:
            return
        self._dismissed.add(worker)
        try:
            async with asyncio.timeout(self.options.hang_seconds):
                await worker.channel.request("stop")
        except (WorkerGoneError, TimeoutError):
            await self._end_dismissed(worker)
        else:
            self.start_task(self._end_dismissed(worker))

    async def _end_dismissed(self, worker: WorkerProcess) -> None:
        await self.processes.end(worker)
        self._dismissed.discard(worker)

    async def take_worker(self) -> WorkerProcess:
        """A booted worker without memory: a standby if there is one, else one that is forked now."""
        if "standby" in self.options.without:
            return await self.processes.boot()
        worker = self.booted.take()
        self.start_task(self.booted.fill())
        return worker or await self.processes.fork()

    def keep_standbys(self, wanted: int) -> None:
        """Keep as many booted workers from now on; more than that are used up, not ended."""
        self.booted.wanted = wanted
        self.start_task(self.booted.fill())

    async def _get_ready(self, worker: WorkerProcess) -> None:
        """Have a worker do what it can before it has a device."""
        await worker.channel.request("get_ready", **self._known)

    @property
    def _known(self) -> dict[str, Any]:
        """What every worker of this pool is told."""
        return {"private": "zero_copy" in self.options.without, "layout": self.layout.to_message()}

    async def attach(self, device: Device, worker: WorkerProcess) -> None:
        """Make `worker` the device's; it maps the device's memory and knows all others. Raises `WorkerGoneError`.

        No message but this one and `get_ready` reaches a worker before it is attached.
        """
        peers = [other.as_peer() for other in self.devices.values() if other is not device]
        try:
            now = await asyncio.to_thread(self.memory.client.attach, device.number)
        finally:
            device.worker = worker
        os.close(now.file)
        files = [device.attachment.file, device.inbox[0].fileno(), *(file for _, files in peers for file in files)]
        with worker.open_movements() as movements:
            await worker.channel.request(
                "attach",
                [*files, movements.fileno()],
                device=device.number,
                incarnation=device.incarnation,
                threads=self.options.threads,
                simulated=self.options.simulated and self.options.simulated.to_message(),
                regions={name: _encode(region) for name, region in device.attachment.regions.items()},
                experts=_experts_in(now.regions),
                peers=[fields for fields, _ in peers],
                **self._known,
                **self.placement.to_message(),
            )

    async def tell(self, device: Device, call: str, files: Sequence[int] = (), /, **fields: Any) -> wire.Message:
        """A request to a device's worker; raises `WorkerGoneError`."""
        return await device.present.channel.request(call, files, **fields)

    async def tell_all(self, devices: Iterable[Device], call: str, files: Sequence[int] = (), /, **fields: Any) -> None:
        """A request to several devices at the same time; raises the first error after all have answered or failed."""
        await together(*(self.tell(device, call, files, **fields) for device in devices))

    async def take_in(self, device: Device, experts: Sequence[tuple[int, int, Sequence[Run]]]) -> None:
        """Have a device's worker map experts (layer, expert, page runs) that nobody calls; raises `WorkerGoneError`."""
        await device.present.move("take_in", experts=experts)

    async def give_away(self, device: Device, experts: Sequence[tuple[int, int]]) -> None:
        """Have it unmap experts that nobody calls any more. A worker that comes in its place never maps them."""
        with contextlib.suppress(WorkerGoneError):
            await device.present.move("give_away", experts=experts)

    async def replace(self, device: Device) -> None:
        """Fence a device's worker and put another in its place, over the same memory. The caller holds `changing`.

        Raises `WorkerGoneError` when none can be had.
        """
        device.stop_serving()
        for _ in range(_ATTEMPTS):
            await self.end_worker(device)
            device.incarnation += 1
            try:
                await self.attach(device, await self.take_worker())
                break
            except WorkerGoneError:
                await self.processes.renew()
        else:
            raise WorkerGoneError(f"device {device.number} got no worker in {_ATTEMPTS} attempts")
        others = [other for other in self.devices.values() if other is not device]
        await self.inform(others, "peer_restarted", device=device.number, incarnation=device.incarnation)
        self.replaced += 1
        device.start_serving()

    async def place(self, gone: Sequence[int] = ()) -> None:
        """Have every worker use the placement of now; returns when no call to what it replaces is out.

        gone: lost devices; what workers had asked of them is asked of the owners of now. Where a worker dies meanwhile,
        its successor is waited for, which has the placement from the start.
        """
        message = {**self.placement.to_message(), "gone": list(gone)}
        await self._placed(lambda worker: worker.channel.request("place", **message))

    async def switch(self, moves: Iterable[Move]) -> None:
        """The same where nothing but `moves` is new and no device is lost: workers hear of that while they compute."""
        moved = [(move.layer, move.expert, move.target) for move in moves]
        await self._placed(lambda worker: worker.move("switch", moves=moved))

    async def _placed(self, tell: Callable[[WorkerProcess], Awaitable[object]]) -> None:
        await asyncio.gather(*(self._place(device, tell) for device in self.devices.values()))

    async def _place(self, device: Device, tell: Callable[[WorkerProcess], Awaitable[object]]) -> None:
        try:
            await tell(device.present)
        except WorkerGoneError:
            await device.settled.wait()

    async def inform(self, devices: Iterable[Device], call: str, /, **fields: Any) -> None:
        """Tell those of `devices` that can hear it; whoever replaces a worker that cannot knows it from the start."""
        told = (self.tell(device, call, **fields) for device in devices)
        for result in await asyncio.gather(*told, return_exceptions=True):
            if isinstance(result, BaseException) and not isinstance(result, WorkerGoneError):
                raise result

    def require_whole(self) -> None:
        """Raise `ElasticError` when the pool is broken: what it takes in now may never be answered."""
        if self.is_broken:
            raise ElasticError("the pool has lost its memory manager", remedy="start the pool again")

    def start_task(self, work: Coroutine[Any, Any, None]) -> None:
        """Let `work` run beside everything else, until the pool closes."""
        if self._is_closing:
            work.close()
            return
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def standbys(self) -> int:
        """Booted workers that wait."""
        return len(self.booted)

    async def aclose(self) -> None:
        """End all processes and give all memory back; nothing is left running or mapped. Twice is fine."""
        if self._is_closing:
            return
        self._is_closing = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for worker in [*self.booted, *self._dismissed]:
            await self.processes.end(worker)
        for device in list(self.devices.values()):
            await self.end_worker(device)
            device.close()
        await self.processes.aclose()
        libc.take_short_turns(False)
        await asyncio.to_thread(self.memory.close)


def _encode(region: Region) -> list[Any]:
    return [region.num_bytes, region.runs]


def _experts_in(regions: dict[str, Region]) -> list[list[Any]]:
    """What the arena holds of experts, whatever a placement says: during a resize a device holds old and new ones."""
    found = ((_EXPERT_REGION.fullmatch(name), region) for name, region in regions.items())
    return [[int(match[1]), int(match[2]), region.runs] for match, region in found if match]
