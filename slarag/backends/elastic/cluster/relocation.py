"""Experts on their way from device to device, while the pool serves.

They go chunk by chunk: copied, then switched to by every worker between two calls of its own, then given back where
they came from. Only the chunks that are between the first and the last of these exist twice, so that memory hardly
peaks. The three go on at the same time: the manager always has the next chunk to copy, and workers are told once of all
that arrived while they switched. (vpage-remap and P2P copies of ElasticMoE, arXiv 2510.02613, section 4, which holds
all of what moves twice.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import TypeVar

from ..device_layout import expert_region
from ..errors import ResizeError
from ..memory.arena import Region
from ..placement import Move
from .cluster import Cluster
from .memory_line import MemoryLine
from .rebuilding import Rebuilding
from .together import together
from .transfer import Transfer

_Key = TypeVar("_Key")
_CHUNKS_IN_FLIGHT = 8
_LINES = 2
_COPIES_QUEUED = 4


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
        self._arrived: list[tuple[Sequence[Move], MemoryLine]] = []
        self._switched: list[Move] = []
        self._chunks = self._in_chunks()
        self._running: asyncio.Task[None] | None = None
        self._at_switch: Callable[[], None] = lambda: None
        self._may_switch = asyncio.Event()
        self._is_stopped = False
        self._is_switching = False
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

    def begin(self) -> asyncio.Task[None]:
        """Begin to copy, if that has not begun: what may exist twice, since nobody switches to it before `run`."""
        if self._running is None:
            self._running = asyncio.create_task(self._copy_all())
        return self._running

    async def run(self, at_switch: Callable[[], None] = lambda: None) -> None:
        """Move everything; at_switch is called before workers switch to what came. What fails is undone by `undo`."""
        running = self.begin()
        self._at_switch = at_switch
        self._may_switch.set()
        await asyncio.shield(running)
        # Addresses under which nothing is any more: nobody waits for that.
        self._cluster.start_task(self._unmap(self._moves, lambda move: move.source))

    async def _copy_all(self) -> None:
        async with AsyncExitStack() as stack:
            client = self._cluster.memory.client
            lines = [await stack.enter_async_context(MemoryLine.opened(client)) for _ in range(_LINES)]
            try:
                await together(*(self._copy(lines[index % _LINES]) for index in range(_COPIES_QUEUED)))
                if self._is_at_once:
                    await self._switch_at_once(lines[0])
            finally:
                await self._settle()

    async def _copy(self, line: MemoryLine) -> None:
        """Copy one chunk after the other, until none is left or something fails."""
        try:
            for chunk in self._chunks:
                await self._copy_chunk(line, chunk)
                if not self._is_at_once:
                    self._arrive(chunk, line)
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        """Copy no further chunk, and switch to none that is there."""
        self._is_stopped = True
        self._chunks.close()
        self._may_switch.set()

    async def _copy_chunk(self, line: MemoryLine, chunk: Sequence[Move]) -> None:
        for _ in chunk:
            await self._room.acquire()
        try:
            copied = await self._transfer.experts(line, chunk)
        except BaseException:
            self._give_room(chunk)
            raise
        self.bytes_moved += copied

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

    def _in_chunks(self) -> Generator[Sequence[Move]]:
        size = max(1, self._most_twice // _CHUNKS_IN_FLIGHT)
        for _, moves in _by(self._moves, lambda move: (move.source, move.target)):
            for start in range(0, len(moves), size):
                yield moves[start : start + size]

    def _arrive(self, chunk: Sequence[Move], line: MemoryLine) -> None:
        self._arrived.append((chunk, line))
        if not self._is_switching:
            self._is_switching = True
            self._settling.append(asyncio.create_task(self._switch_to_arrived()))

    async def _switch_to_arrived(self) -> None:
        """Switch to what has arrived, then to what has arrived meanwhile, and so on."""
        arrived: list[tuple[Sequence[Move], MemoryLine]] = []
        try:
            while self._arrived:
                await self._turn()
                arrived, self._arrived = self._arrived, []
                await self._switch([move for chunk, _ in arrived for move in chunk])
                self._settling += [asyncio.create_task(self._release(*each)) for each in arrived]
                arrived = []
        except BaseException:
            self._stop()
            for chunk, _ in [*arrived, *self._arrived]:
                self._give_room(chunk)
            self._arrived = []
            raise
        finally:
            self._is_switching = False

    async def _turn(self) -> None:
        """Wait until workers may switch; raises `ResizeError` if they never will."""
        await self._may_switch.wait()
        if self._is_stopped:
            raise ResizeError("what has been copied is not used")
        self._at_switch()

    async def _switch(self, moves: Sequence[Move]) -> None:
        """From now on, new workers know; returns once no worker calls the old owners any more."""
        self._cluster.placement = self._cluster.placement.after(moves)
        self._switched += moves
        await self._cluster.place(self._lost)

    async def _switch_at_once(self, line: MemoryLine) -> None:
        await self._turn()
        if "page_remap" not in self._cluster.options.without:
            await self._switch(self._moves)
            await self._release(self._moves, line)
            return
        rebuilding = Rebuilding(self._cluster, self._moves)
        await rebuilding.run()
        if "zero_copy" in self._cluster.options.without:
            await self.map()
        await self._switch(self._moves)
        await self._release(self._moves, line)
        await rebuilding.release()

    async def _release(self, moves: Sequence[Move], line: MemoryLine) -> None:
        """Give back what was moved, on the line that copied it, so that the next chunk gets the memory that gets free.

        The system can take ten times as long to give memory that it has not handed out for long.
        """
        try:
            for number, names in _regions(moves, lambda move: move.source):
                await line.release(number, names)
        finally:
            self._give_room(moves)

    def _give_room(self, moves: Sequence[Move]) -> None:
        for _ in moves:
            self._room.release()

    async def _free(self, moves: Iterable[Move], device_of: Callable[[Move], int]) -> None:
        for number, names in _regions(moves, device_of):
            await asyncio.to_thread(self._cluster.memory.client.release, number, names)

    async def _unmap(self, moves: Iterable[Move], device_of: Callable[[Move], int]) -> None:
        for number, left in _by(moves, device_of):
            experts = [[move.layer, move.expert] for move in left]
            devices = [device for device in self._cluster.devices.values() if device.number == number]
            await self._cluster.inform(devices, "give_away", experts=experts)

    async def _settle(self) -> None:
        """Wait until nothing is held twice; raises what a switch or a release raised."""
        settling, self._settling = self._settling, []
        try:
            await together(*settling)
        finally:
            if self._settling:
                await self._settle()


def _regions(moves: Iterable[Move], device_of: Callable[[Move], int]) -> list[tuple[int, list[str]]]:
    """The names of what moves, by device."""
    return [
        (number, [expert_region(move.layer, move.expert) for move in found]) for number, found in _by(moves, device_of)
    ]


def _by(moves: Iterable[Move], key: Callable[[Move], _Key]) -> list[tuple[_Key, list[Move]]]:
    groups: dict[_Key, list[Move]] = {}
    for move in moves:
        groups.setdefault(key(move), []).append(move)
    return list(groups.items())
