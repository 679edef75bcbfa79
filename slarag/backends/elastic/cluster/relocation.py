"""Experts on their way from device to device, while the pool serves.

They go chunk by chunk: copied, then switched to by every worker between two calls of its own, then given back where
they came from. Only the chunks that are between the first and the last of these exist twice, so that memory hardly
peaks, and copying goes on while workers switch. (vpage-remap and P2P copies of ElasticMoE, arXiv 2510.02613, section
4, which holds all of what moves twice.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import TypeVar

from ..device_layout import expert_region
from ..memory.arena import Region
from ..memory.client import MemoryClient
from ..placement import Move
from .cluster import Cluster
from .rebuilding import Rebuilding
from .transfer import Transfer

_Key = TypeVar("_Key")
_CHUNKS_IN_FLIGHT = 4
_COPIES_AT_ONCE = 2


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
        self._most_twice = max(1, int(cluster.options.double_held_share * experts))
        self._is_at_once = bool(self._lost) or "page_remap" in cluster.options.without
        self._room = asyncio.Semaphore(len(moves) if self._is_at_once else self._most_twice)
        self._transfer = Transfer(cluster.options, cluster.layout)
        self._allocated: dict[int, dict[str, Region]] = {}
        self._switched: list[Move] = []
        self._settling: list[asyncio.Task[None]] = []

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
        chunks = self._chunks()
        copying = [self._copy(chunks, at_chunk) for _ in range(_COPIES_AT_ONCE)]
        _raise_first(await asyncio.gather(*copying, return_exceptions=True))
        if self._is_at_once:
            await self._switch_at_once()
        await self._settle()
        await self._unmap(self._moves, lambda move: move.source)

    async def _copy(self, chunks: Generator[Sequence[Move]], at_chunk: Callable[[], None]) -> None:
        """Copy and switch to one chunk after the other, until none is left or one fails."""
        client = MemoryClient(await asyncio.to_thread(self._cluster.memory.client.connect))
        try:
            for chunk in chunks:
                at_chunk()
                await self._copy_chunk(client, chunk)
                if not self._is_at_once:
                    self._switch(chunk)
        except BaseException:
            chunks.close()
            raise
        finally:
            client.close()

    async def _copy_chunk(self, client: MemoryClient, chunk: Sequence[Move]) -> None:
        for _ in chunk:
            await self._room.acquire()
        try:
            copied = await asyncio.to_thread(self._transfer.experts, client, chunk)
        except BaseException:
            self._give_room(chunk)
            raise
        self.bytes_moved += copied

    async def undo(self) -> None:
        """Move back what was moved, and give the room back."""
        await self._settle()
        back = [Move(move.layer, move.expert, move.target, move.source) for move in self._switched]
        if back:
            way_back = Relocation(self._cluster, back)
            await way_back.prepare()
            await way_back.map()
            await way_back.run()
        done = set(self._switched)
        left = [move for move in self._moves if move not in done and move.target in self._allocated]
        await self._unmap(left, lambda move: move.target)
        await self._free(left, lambda move: move.target)

    def _chunks(self) -> Generator[Sequence[Move]]:
        size = max(1, self._most_twice // _CHUNKS_IN_FLIGHT)
        for _, moves in _by(self._moves, lambda move: (move.source, move.target)):
            for start in range(0, len(moves), size):
                yield moves[start : start + size]

    def _switch(self, moves: Sequence[Move]) -> None:
        """From now on, new workers know; those that are there are told."""
        self._cluster.placement = self._cluster.placement.after(moves)
        self._switched += moves
        self._settling.append(asyncio.create_task(self._release(moves)))

    async def _switch_at_once(self) -> None:
        if "page_remap" not in self._cluster.options.without:
            self._switch(self._moves)
            return
        rebuilding = Rebuilding(self._cluster, self._moves)
        await rebuilding.run()
        if "zero_copy" in self._cluster.options.without:
            await self.map()
        self._switch(self._moves)
        await self._settle()
        await rebuilding.release()

    async def _release(self, moves: Sequence[Move]) -> None:
        """Once no worker calls the old owners any more, the memory of their copies goes."""
        try:
            await self._cluster.place(self._lost)
            await self._free(moves, lambda move: move.source)
        finally:
            self._give_room(moves)

    def _give_room(self, moves: Sequence[Move]) -> None:
        for _ in moves:
            self._room.release()

    async def _free(self, moves: Iterable[Move], device_of: Callable[[Move], int]) -> None:
        for number, freed in _by(moves, device_of):
            names = [expert_region(move.layer, move.expert) for move in freed]
            await asyncio.to_thread(self._cluster.memory.client.release, number, names)

    async def _unmap(self, moves: Iterable[Move], device_of: Callable[[Move], int]) -> None:
        """Addresses under which nothing is any more: all at once, because nobody waits for that."""
        for number, left in _by(moves, device_of):
            experts = [[move.layer, move.expert] for move in left]
            await self._cluster.inform([self._cluster.devices[number]], "give_away", experts=experts)

    async def _settle(self) -> None:
        """Wait until nothing is held twice; raises what a release raised."""
        settling, self._settling = self._settling, []
        _raise_first(await asyncio.gather(*settling, return_exceptions=True))


def _raise_first(results: Iterable[BaseException | None]) -> None:
    for result in results:
        if result is not None:
            raise result


def _by(moves: Iterable[Move], key: Callable[[Move], _Key]) -> list[tuple[_Key, list[Move]]]:
    groups: dict[_Key, list[Move]] = {}
    for move in moves:
        groups.setdefault(key(move), []).append(move)
    return list(groups.items())
