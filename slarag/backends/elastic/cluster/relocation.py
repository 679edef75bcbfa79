"""Experts on their way from device to device, while the pool serves.

Chunk after chunk is copied, then switched to by every worker while it computes, then given up where it came
from; the next chunk is copied to the very memory that this leaves, so that the system is asked for next to none. Two
such lanes go on at the same time, and only what is on them exists twice. (vpage-remap and P2P copies of ElasticMoE,
arXiv 2510.02613, section 4, which holds all of what moves twice.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from itertools import pairwise
from typing import TypeVar

from ..device_layout import expert_region
from ..memory.arena import Region
from ..placement import Move
from .cluster import Cluster
from .memory_line import MemoryLine
from .rebuilding import Rebuilding
from .together import together
from .transfer import Transfer

_Key = TypeVar("_Key")
_LANES = 2


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
        self._is_at_once = bool(self._lost) or "page_remap" in cluster.options.without
        experts = sum(len(owner) for owner in cluster.placement.owners.values())
        most_twice = len(moves) if self._is_at_once else int(cluster.options.double_held_share * experts)
        self._lanes = _lanes(self._moves, max(1, most_twice))
        self._transfer = Transfer(cluster.options, cluster.layout)
        self._allocated: dict[int, dict[str, Region]] = {}
        self._switched: list[Move] = []
        self._running: asyncio.Task[None] | None = None
        self._at_switch: Callable[[], None] = lambda: None
        self._may_switch = asyncio.Event()
        self._is_stopped = False
        self._is_under_way = asyncio.Event()
        self._idle_lanes = sum(map(bool, self._lanes))
        self._note(False)

    async def prepare(self) -> None:
        """Get room on the devices that take experts in; raises `DeviceMemoryError`."""
        client, layout = self._cluster.memory.client, self._cluster.layout
        after = {} if self._is_at_once else _predecessors(self._lanes)
        for target, moves in _by(self._moves, lambda move: move.target):
            sizes = layout.expert_sizes([(move.layer, move.expert) for move in moves])
            before = {_name(move): (after[move].source, _name(after[move])) for move in moves if move in after}
            self._allocated[target] = await asyncio.to_thread(client.allocate, target, sizes, before)

    async def map(self) -> None:
        """Have the workers there map it; raises `WorkerGoneError`."""
        for target, moves in _by(self._moves, lambda move: move.target):
            regions = self._allocated[target]
            experts = [(move.layer, move.expert, regions[_name(move)].runs) for move in moves]
            await self._cluster.take_in(self._cluster.devices[target], experts)

    def begin(self) -> asyncio.Task[None]:
        """Begin to copy, if that has not begun: what may exist twice, since nobody switches to it before `run`."""
        if self._running is None:
            self._running = asyncio.create_task(self._copy_all())
        return self._running

    async def under_way(self) -> None:
        """Wait until every lane has its first chunk copied, or copies no more."""
        await self._is_under_way.wait()

    async def run(self, at_switch: Callable[[], None] = lambda: None, *, ending: Collection[int] = ()) -> None:
        """Move everything; at_switch is called before workers switch to what came. What fails is undone by `undo`.

        ending: devices whose workers end after that, and unmap nothing before.
        """
        running = self.begin()
        self._at_switch = at_switch
        self._may_switch.set()
        await asyncio.shield(running)
        # Nobody waits for that: what is there is used no more. All hear of it before they can take anything in again.
        left = [move for move in self._moves if move.source not in ending]
        self._cluster.start_task(self._unmap(left, lambda move: move.source))

    async def _copy_all(self) -> None:
        async with AsyncExitStack() as stack:
            line = await stack.enter_async_context(MemoryLine.opened(self._cluster.memory.client))
            await together(*(self._move(lane, line) for lane in self._lanes))
            if self._is_at_once and await self._turn():
                await self._switch_at_once(line)

    async def _move(self, lane: _Lane, line: MemoryLine) -> None:
        """Take one chunk after the other to its device, until none is left or anything fails."""
        releases: list[Awaitable[object]] = []
        try:
            for chunk in lane:
                if self._is_stopped:
                    return
                await self._copy(chunk, line)
                self._note(chunk is lane[0])
                if not self._is_at_once and await self._turn():
                    await self._switch(chunk)
                    releases += self._release(chunk, line)
        except BaseException:
            self._stop()
            raise
        finally:
            await together(*releases)

    def _note(self, is_first: bool) -> None:
        self._idle_lanes -= is_first
        if not self._idle_lanes:
            self._is_under_way.set()

    async def _copy(self, chunk: Sequence[Move], line: MemoryLine) -> None:
        for _, moves in _by(chunk, lambda move: (move.source, move.target)):
            copied = await self._transfer.experts(line, moves)
            self.bytes_moved += copied

    def _stop(self) -> None:
        """Copy no further chunk, and switch to none that is there."""
        self._is_stopped = True
        self._is_under_way.set()
        self._may_switch.set()

    async def undo(self) -> None:
        """Move back what was moved, and give the room back."""
        self._stop()
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)
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

    async def _turn(self) -> bool:
        """Wait until workers may switch; returns False if they never will."""
        await self._may_switch.wait()
        if not self._is_stopped:
            self._at_switch()
        return not self._is_stopped

    async def _switch(self, moves: Sequence[Move]) -> None:
        """From now on, new workers know; returns once no worker calls the old owners any more."""
        self._cluster.placement = self._cluster.placement.after(moves)
        self._switched += moves
        await (self._cluster.place(self._lost) if self._is_at_once else self._cluster.switch(moves))

    async def _switch_at_once(self, line: MemoryLine) -> None:
        if "page_remap" not in self._cluster.options.without:
            await self._switch(self._moves)
            await together(*self._release(self._moves, line))
            return
        rebuilding = Rebuilding(self._cluster, self._moves)
        await rebuilding.run()
        if "zero_copy" in self._cluster.options.without:
            await self.map()
        await self._switch(self._moves)
        await together(*self._release(self._moves, line))
        await rebuilding.release()

    def _release(self, moves: Iterable[Move], line: MemoryLine) -> list[Awaitable[object]]:
        """Give up what was moved; what is promised its memory can be copied there at once, on this line."""
        return [line.release(number, names) for number, names in _regions(moves, lambda move: move.source)]

    async def _free(self, moves: Iterable[Move], device_of: Callable[[Move], int]) -> None:
        for number, names in _regions(moves, device_of):
            await asyncio.to_thread(self._cluster.memory.client.release, number, names)

    async def _unmap(self, moves: Iterable[Move], device_of: Callable[[Move], int]) -> None:
        await together(*(self._give_away(number, left) for number, left in _by(moves, device_of)))

    async def _give_away(self, number: int, moves: Iterable[Move]) -> None:
        if (device := self._cluster.devices.get(number)) is not None:
            await self._cluster.give_away(device, [(move.layer, move.expert) for move in moves])


_Lane = Sequence[Sequence[Move]]
"""Chunks, of which one after the other exists twice."""


def _lanes(moves: Sequence[Move], most_twice: int) -> list[_Lane]:
    """Lanes that hold at most so many experts twice together."""
    count = min(_LANES, most_twice)
    size = most_twice // count
    chunks = [moves[start : start + size] for start in range(0, len(moves), size)]
    return [chunks[index::count] for index in range(count)]


def _predecessors(lanes: Iterable[_Lane]) -> Mapping[Move, Move]:
    """By move: the one before it on its lane, whose memory it gets."""
    return {
        move: before
        for lane in lanes
        for chunk, following in pairwise(lane)
        for before, move in zip(chunk, following, strict=False)
    }


def _name(move: Move) -> str:
    return expert_region(move.layer, move.expert)


def _regions(moves: Iterable[Move], device_of: Callable[[Move], int]) -> list[tuple[int, list[str]]]:
    """The names of what moves, by device."""
    return [(number, [_name(move) for move in found]) for number, found in _by(moves, device_of)]


def _by(moves: Iterable[Move], key: Callable[[Move], _Key]) -> list[tuple[_Key, list[Move]]]:
    groups: dict[_Key, list[Move]] = {}
    for move in moves:
        groups.setdefault(key(move), []).append(move)
    return list(groups.items())
