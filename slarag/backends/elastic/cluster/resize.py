"""A resize as a transaction: plan, prepare, commit, release; or roll back.

Before the commit the pool serves as it was, and every step here can be undone. With the commit each worker takes the
new placement between two calls of its own; there is no moment at which all of them must stop. Old copies of moved
experts stay mapped until the last worker has taken it. (HMM and IMM of ElasticMoE, arXiv 2510.02613, section 4, without
its pause of intake and without its destroyed communicator.)
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from ....sla.errors import SlaragError
from ..device_layout import SHARED, expert_region
from ..errors import ResizeError, WorkerGoneError
from ..memory.arena import Region
from ..placement import Move, Placement, fewest_moves, moves_between
from .cluster import Cluster
from .device import Device

_Key = TypeVar("_Key")


@dataclass(frozen=True, slots=True)
class ResizePlan:
    """What a resize will do. bytes_to_move: experts that change devices, and the shared weights of new devices."""

    placement: Placement
    joining: tuple[int, ...]
    leaving: tuple[int, ...]
    moves: tuple[Move, ...]
    bytes_to_move: int
    bytes_lower_bound: int


def plan_resize(cluster: Cluster, size: int) -> ResizePlan:
    """The plan with the fewest bytes for `size` devices; raises `ResizeError` for a size that cannot be."""
    old, layout = cluster.placement, cluster.layout
    if size < 1 or size > layout.max_devices:
        raise ResizeError(
            f"a pool of {size} devices cannot be", remedy=f"ask for 1 to {layout.max_devices} devices"
        )
    kept = old.devices[:size]
    first_new = 1 + max(old.devices)
    joining = tuple(range(first_new, first_new + size - len(kept)))
    new = old.resized((*kept, *joining))
    moves = moves_between(old, new)
    replicas = len(joining) * layout.shared_bytes
    return ResizePlan(
        placement=new,
        joining=joining,
        leaving=old.devices[size:],
        moves=moves,
        bytes_to_move=len(moves) * layout.expert_bytes + replicas,
        bytes_lower_bound=fewest_moves(old, new.devices) * layout.expert_bytes + replicas,
    )


@dataclass(slots=True)
class Resize:
    """One resize of a cluster.

    at_step is called with the name of each step before it is done; a test raises there. on_phase is told "preparing"
    and "committing" when they begin.
    """

    cluster: Cluster
    plan: ResizePlan
    at_step: Callable[[str], None] = lambda _: None
    on_phase: Callable[[str], None] = lambda _: None
    bytes_moved: int = 0
    _allocated: dict[int, dict[str, Region]] = field(default_factory=dict[int, dict[str, Region]])

    async def run(self, move_sequences: Callable[[], Awaitable[None]]) -> None:
        """Do all of it; raises `ResizeError` after a roll-back.

        move_sequences is awaited between commit and release: after it no sequence may be on a leaving device. Workers
        that die meanwhile are repaired as always, at the new placement: the lock is held only where devices change.
        """
        self.on_phase("preparing")
        async with self.cluster.changing:
            await self._prepare()
            self.cluster.placement = self.plan.placement
        self.on_phase("committing")
        await asyncio.gather(*(self._place(device) for device in list(self.cluster.devices.values())))
        for device in self._joining:
            if device.worker is not None and device.worker.channel.is_open:
                device.serving.set()
        await move_sequences()
        async with self.cluster.changing:
            await self._release()

    async def _prepare(self) -> None:
        """Get memory, copy, map and attach, while the pool serves."""
        steps = (self._allocate, self._copy, self._map, self._attach, self._introduce)
        try:
            for step in steps:
                self.at_step(step.__name__.strip("_"))
                await step()
            self.at_step("commit")
        except (SlaragError, OSError) as error:
            await self._roll_back()
            raise ResizeError(f"the resize was rolled back: {error}") from error
        except BaseException:
            await self._roll_back()
            raise

    async def _place(self, device: Device) -> None:
        """Give a worker the new placement; the successor of one that dies has it from the start."""
        try:
            await self.cluster.tell(device, "place", **self.plan.placement.to_message(), gone=[])
        except WorkerGoneError:
            await device.serving.wait()

    async def _release(self) -> None:
        """Give back what the old placement held."""
        leaving = {number: self.cluster.devices[number] for number in self.plan.leaving}
        staying = [device for device in self.cluster.devices.values() if device.number not in leaving]
        for source, moves in _by(self.plan.moves, lambda move: move.source):
            if source not in leaving:
                await self._give_away(source, moves)
        for number, device in leaving.items():
            with contextlib.suppress(WorkerGoneError):
                await self.cluster.tell_all(staying, "drop_peer", device=number)
            await self.cluster.remove_device(device)

    async def _roll_back(self) -> None:
        """Undo what was prepared; workers that are gone have nothing to undo."""
        cluster = self.cluster
        for device in self._joining:
            others = [other for other in cluster.devices.values() if other is not device]
            with contextlib.suppress(WorkerGoneError):
                await cluster.tell_all(others, "drop_peer", device=device.number)
            await cluster.remove_device(device)
        for number, regions in self._allocated.items():
            experts = [[move.layer, move.expert] for move in self._into(number)]
            with contextlib.suppress(WorkerGoneError):
                await cluster.tell(cluster.devices[number], "give_away", experts=experts)
            await asyncio.to_thread(cluster.memory.client.release, number, list(regions))
        self._allocated.clear()

    @property
    def _joining(self) -> list[Device]:
        return [self.cluster.devices[number] for number in self.plan.joining if number in self.cluster.devices]

    def _into(self, device: int) -> list[Move]:
        return [move for move in self.plan.moves if move.target == device]

    async def _allocate(self) -> None:
        for number in self.plan.joining:
            await self.cluster.add_device(number, self.plan.placement)
        for target, moves in _by(self.plan.moves, lambda move: move.target):
            if target not in self.plan.joining:
                sizes = self.cluster.layout.expert_sizes([(move.layer, move.expert) for move in moves])
                client = self.cluster.memory.client
                self._allocated[target] = await asyncio.to_thread(client.allocate, target, sizes)

    async def _copy(self) -> None:
        client, staying = self.cluster.memory.client, self.cluster.placement.devices
        for index, number in enumerate(self.plan.joining):
            source = staying[index % len(staying)]
            self.bytes_moved += await asyncio.to_thread(client.copy, source, number, [SHARED])
        for (source, target), moves in _by(self.plan.moves, lambda move: (move.source, move.target)):
            names = [expert_region(move.layer, move.expert) for move in moves]
            self.bytes_moved += await asyncio.to_thread(client.copy, source, target, names)

    async def _map(self) -> None:
        for target, regions in self._allocated.items():
            experts = [[m.layer, m.expert, regions[expert_region(m.layer, m.expert)].runs] for m in self._into(target)]
            await self.cluster.tell(self.cluster.devices[target], "take_in", experts=experts)

    async def _attach(self) -> None:
        for device in self._joining:
            await self.cluster.attach(device, await self.cluster.take_standby())

    async def _introduce(self) -> None:
        """The joining devices know everybody since they were attached; now the others learn of them."""
        joining = self._joining
        for device in joining:
            peer, files = device.as_peer()
            others = [other for other in self.cluster.devices.values() if other not in joining]
            await self.cluster.tell_all(others, "add_peer", files, peer=peer)

    async def _give_away(self, source: int, moves: Sequence[Move]) -> None:
        device = self.cluster.devices[source]
        with contextlib.suppress(WorkerGoneError):
            await self.cluster.tell(device, "give_away", experts=[[move.layer, move.expert] for move in moves])
        names = [expert_region(move.layer, move.expert) for move in moves]
        await asyncio.to_thread(self.cluster.memory.client.release, source, names)


def _by(moves: Iterable[Move], key: Callable[[Move], _Key]) -> list[tuple[_Key, list[Move]]]:
    groups: dict[_Key, list[Move]] = {}
    for move in moves:
        groups.setdefault(key(move), []).append(move)
    return list(groups.items())
