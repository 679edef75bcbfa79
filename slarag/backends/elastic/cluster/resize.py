"""A resize as a transaction: prepare, move, commit, release; or roll back.

New devices get their memory, their copy of the shared weights and a worker while the pool serves as before. Then the
experts move chunk by chunk (see `relocation`); between two chunks every expert is on exactly one device that all
workers agree on, so the pool serves at any moment, and nothing ever stops all workers. What fails before the commit is
undone, moved chunks included. (HMM and IMM of ElasticMoE, arXiv 2510.02613, section 4, without its pause of intake and
without its destroyed communicator.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

from ....sla.errors import SlaragError
from ..errors import ResizeError
from .cluster import Cluster
from .device import Device
from .memory_line import MemoryLine
from .plan import ResizePlan, plan_resize
from .relocation import Relocation
from .replication import Copy, Replication, copies_of
from .together import together
from .transfer import Transfer

__all__ = ["Resize", "ResizePlan", "plan_resize"]


async def _nothing() -> None: ...


class Resize:
    """One resize of a cluster.

    at_step is called with the name of each step before it is done, "move" whenever workers switch; a test raises there.
    on_phase is told "preparing" and "committing" when they begin: from the second on, new devices take over experts.
    bytes_moved: copied so far.
    """

    def __init__(
        self,
        cluster: Cluster,
        plan: ResizePlan,
        *,
        at_step: Callable[[str], None] = lambda _: None,
        on_phase: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.plan = plan
        self._cluster = cluster
        self._relocation = Relocation(cluster, plan.moves)
        self._replication = Replication(cluster)
        self._left_over: list[Copy] = []
        self._sharing: asyncio.Task[None] | None = None
        self._shared_bytes_moved = 0
        self._at_step = at_step
        self._on_phase = on_phase

    @property
    def bytes_moved(self) -> int:
        """Copied so far."""
        return self._shared_bytes_moved + self._relocation.bytes_moved

    async def run(
        self,
        move_sequences: Callable[[], Awaitable[None]],
        *,
        leave: Callable[[], Awaitable[None]] = _nothing,
        stay: Callable[[], None] = lambda: None,
    ) -> None:
        """Do all of it; raises `ResizeError` after a roll-back.

        leave is awaited while experts move, so that leaving devices are empty when they are there; stay is called after
        a roll-back. move_sequences is awaited between commit and release: after it no sequence may be on a leaving
        device. Workers that die meanwhile are repaired as always: the lock is held only where devices change.
        """
        with self._cluster.booted.left_alone():
            await self._run(move_sequences, leave, stay)

    async def _run(
        self,
        move_sequences: Callable[[], Awaitable[None]],
        leave: Callable[[], Awaitable[None]],
        stay: Callable[[], None],
    ) -> None:
        try:
            await self._prepare_and_move(leave)
        except BaseException as error:
            await self._roll_back()
            stay()
            if isinstance(error, (SlaragError, OSError)):
                raise ResizeError(f"the resize was rolled back: {error}") from error
            raise
        # The owners are the same as after the last chunk: nobody has to be told.
        self._cluster.placement = replace(self._cluster.placement, devices=self.plan.placement.devices)
        self._start_lanes()
        await move_sequences()
        async with self._cluster.changing:
            await self._release()

    async def _prepare_and_move(self, leave: Callable[[], Awaitable[None]]) -> None:
        self._on_phase("preparing")
        await self._give_up_replicas()
        async with self._cluster.changing:
            await self._do(self._allocate)
            self._relocation.begin()
            await self._start_joining()
            await self._do(self._map)
        self._on_phase("committing")
        moving = self._relocation.run(lambda: self._at_step("move"), ending=self.plan.leaving)
        await together(moving, self._shared(), leave())
        await self._replication.free(self._left_over)
        self._at_step("commit")

    async def _give_up_replicas(self) -> None:
        """Their pages may be needed. While a device is lost workers wait for it, and hear of this with the moves."""
        if not any(device.is_lost for device in self._cluster.devices.values()):
            await self._replication.drop()
            return
        copies, start = copies_of(self._cluster.placement.replicas), self.plan.start
        self._cluster.placement = start
        self._left_over = [
            (layer, expert, device)
            for layer, expert, device in copies
            if start.owners[layer][expert] != device and not self._cluster.devices[device].is_lost
        ]

    async def _allocate(self) -> None:
        for number in self.plan.joining:
            await self._cluster.add_device(number, {})
        await self._relocation.prepare()

    async def _start_joining(self) -> None:
        """Attach and introduce new devices. Meanwhile they are filled, and for longer: what is shared a worker maps
        now, and reads when it takes sequences. The experts that it serves before that are not part of it.
        """
        self._at_step("share")
        self._sharing = asyncio.create_task(self._share())
        if "zero_copy" in self._cluster.options.without:
            await self._sharing
        await together(self._do(self._attach), self._do(self._introduce))

    async def _do(self, step: Callable[[], Awaitable[None]]) -> None:
        self._at_step(step.__name__.strip("_"))
        await step()

    async def _share(self) -> None:
        """Copy the shared weights, each time from another device.

        Experts go first: what they wait for is on the way then, while for these there is time until the commit.
        """
        if "zero_copy" not in self._cluster.options.without:
            await self._relocation.under_way()
        staying = self._cluster.placement.devices
        transfer = Transfer(self._cluster.options, self._cluster.layout)
        async with MemoryLine.opened(self._cluster.memory.client) as line:
            for index, number in enumerate(self.plan.joining):
                copied = await transfer.shared(line, staying[index % len(staying)], number)
                self._shared_bytes_moved += copied

    async def _shared(self) -> None:
        if self._sharing is not None:
            await asyncio.shield(self._sharing)

    async def _attach(self) -> None:
        await together(*map(self._attach_one, self._joining))

    async def _attach_one(self, device: Device) -> None:
        await self._cluster.attach(device, await self._cluster.take_worker())

    async def _introduce(self) -> None:
        """A joining device knows everybody from its attachment; here the others learn of it."""
        joining = self._joining
        for device in joining:
            peer, files = device.as_peer()
            others = [other for other in self._cluster.devices.values() if other not in joining]
            await self._cluster.tell_all(others, "add_peer", files, peer=peer)

    async def _map(self) -> None:
        await self._relocation.map()

    def _start_lanes(self) -> None:
        for device in self._joining:
            if device.worker is not None and device.worker.channel.is_open:
                device.start_serving()
        for number in self.plan.leaving:
            device = self._cluster.devices[number]
            if device.is_lost:
                # Its lane waits for a worker that will never come; now it gets to see that it is closed.
                device.serving.set()

    async def _release(self) -> None:
        for number in self.plan.leaving:
            await self._cluster.remove_device(self._cluster.devices[number])

    async def _roll_back(self) -> None:
        """Undo what was done; workers that are gone have nothing to undo."""
        await self._relocation.undo()
        if self._sharing is not None:
            await asyncio.gather(self._sharing, return_exceptions=True)
        async with self._cluster.changing:
            for device in self._joining:
                await self._cluster.remove_device(device)
            kept = tuple(number for number in self._cluster.placement.devices if number not in self.plan.joining)
            self._cluster.placement = replace(self._cluster.placement, devices=kept)

    @property
    def _joining(self) -> list[Device]:
        return [self._cluster.devices[number] for number in self.plan.joining if number in self._cluster.devices]
