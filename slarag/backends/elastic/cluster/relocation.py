"""Experts on their way from device to device, while the pool serves.

They go chunk by chunk: copied, then switched to by every worker between two calls of its own, then given back where
they came from. Only the chunks that are between the first and the last of these exist twice, so that memory hardly
peaks, and copying goes on while workers switch. (vpage-remap and P2P copies of ElasticMoE, arXiv 2510.02613, section
4, which holds all of what moves twice.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

from ..device_layout import expert_region
from ..errors import WorkerGoneError
from ..memory.arena import Region
from ..memory.client import MemoryClient
from ..placement import Move
from .cluster import Cluster
from .device import Device

_Key = TypeVar("_Key")
_CHUNKS_IN_FLIGHT = 4


class Relocation:
    """Moves between devices. bytes_moved: copied so far.

    Sources that are lost have no worker that could serve until its chunk's turn: then all switch at once, and what
    workers had asked of the lost ones is asked of the new owners.
    """

    def __init__(self, cluster: Cluster, moves: Sequence[Move]) -> None:
        self.bytes_moved = 0
        self._cluster = cluster
        self._moves = tuple(moves)
        self._lost = [number for number in {move.source for move in moves} if cluster.devices[number].is_lost]
        experts = sum(len(owner) for owner in cluster.placement.owners.values())
        self._most_twice = max(1, int(cluster.options.double_held_share * experts)) * cluster.layout.expert_bytes
        self._allocated: dict[int, dict[str, Region]] = {}
        self._switched: list[Move] = []
        self._settling: dict[asyncio.Task[None], int] = {}

    async def prepare(self) -> None:
        """Get room on the devices that take experts in; raises `DeviceMemoryError`. Nothing is held twice by that:
        memory appears where it is written.
        """
        client, layout = self._cluster.memory.client, self._cluster.layout
        for target, moves in _by(self._moves, lambda move: move.target):
            sizes = layout.expert_sizes([(move.layer, move.expert) for move in moves])
            self._allocated[target] = await asyncio.to_thread(client.allocate, target, sizes)

    async def map(self) -> None:
        """Have the workers there map it; raises `WorkerGoneError`."""
        for target, moves in _by(self._moves, lambda move: move.target):
            regions = self._allocated[target]
            experts = [[m.layer, m.expert, regions[expert_region(m.layer, m.expert)].runs] for m in moves]
            await self._cluster.tell(self._cluster.devices[target], "take_in", experts=experts)

    async def run(self, at_chunk: Callable[[], None] = lambda: None) -> None:
        """Move everything; at_chunk is called before each chunk. What fails is undone by `undo`."""
        copying = MemoryClient(await asyncio.to_thread(self._cluster.memory.client.connect))
        try:
            for chunk in self._chunks():
                at_chunk()
                await self._settle(self._most_twice - self._bytes_of(chunk))
                names = [expert_region(move.layer, move.expert) for move in chunk]
                self.bytes_moved += await asyncio.to_thread(copying.copy, chunk[0].source, chunk[0].target, names)
                if not self._lost:
                    self._switch(chunk)
        finally:
            copying.close()
        if self._lost:
            self._switch(self._moves)
        await self._settle(0)

    async def undo(self) -> None:
        """Move back what was moved, and give the room back."""
        await self._settle(0)
        back = [Move(move.layer, move.expert, move.target, move.source) for move in self._switched]
        if back:
            way_back = Relocation(self._cluster, back)
            await way_back.prepare()
            await way_back.map()
            await way_back.run()
        done = set(self._switched)
        left = [move for move in self._moves if move not in done and move.target in self._allocated]
        for target, moves in _by(left, lambda move: move.target):
            await self._give_away(target, moves)

    def _chunks(self) -> Iterator[Sequence[Move]]:
        size = max(1, self._most_twice // _CHUNKS_IN_FLIGHT // max(1, self._cluster.layout.expert_bytes))
        for _, moves in _by(self._moves, lambda move: (move.source, move.target)):
            for start in range(0, len(moves), size):
                yield moves[start : start + size]

    def _switch(self, moves: Sequence[Move]) -> None:
        """From now on, new workers know; those that are there are told."""
        self._cluster.placement = self._cluster.placement.after(moves)
        self._switched += moves
        self._settling[asyncio.create_task(self._release(moves))] = self._bytes_of(moves)

    async def _release(self, moves: Sequence[Move]) -> None:
        """Once no worker calls the old owners any more, their copies go."""
        cluster = self._cluster
        placement = cluster.placement.to_message()
        await asyncio.gather(*(self._place(device, placement) for device in cluster.devices.values()))
        for source, given in _by(moves, lambda move: move.source):
            await self._give_away(source, given)

    async def _place(self, device: Device, placement: dict[str, Any]) -> None:
        """Returns when the device's worker has it, or a successor that was attached with it."""
        try:
            await self._cluster.tell(device, "place", **placement, gone=self._lost)
        except WorkerGoneError:
            await device.settled.wait()

    async def _give_away(self, source: int, moves: Sequence[Move]) -> None:
        device = self._cluster.devices[source]
        await self._cluster.inform([device], "give_away", experts=[[move.layer, move.expert] for move in moves])
        names = [expert_region(move.layer, move.expert) for move in moves]
        await asyncio.to_thread(self._cluster.memory.client.release, source, names)

    async def _settle(self, most_bytes: int) -> None:
        """Wait until no more than so much is held twice; raises what a release raised."""
        while self._settling and sum(self._settling.values()) > most_bytes:
            done, _ = await asyncio.wait(self._settling, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                del self._settling[task]
                task.result()

    def _bytes_of(self, moves: Sequence[Move]) -> int:
        return len(moves) * self._cluster.layout.expert_bytes


def _by(moves: Iterable[Move], key: Callable[[Move], _Key]) -> list[tuple[_Key, list[Move]]]:
    groups: dict[_Key, list[Move]] = {}
    for move in moves:
        groups.setdefault(key(move), []).append(move)
    return list(groups.items())
