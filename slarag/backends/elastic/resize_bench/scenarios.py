"""The ways to get from one size to another and back. Each really starts, resizes and ends pools.

The baselines are those of ElasticMoE (arXiv 2510.02613, section 6).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from statistics import median

from ..cluster.options import PoolOptions
from ..serve.engine import PoolEngine
from ..serve.sequence import GenerationOptions
from .bed import Bed, Change
from .lateness import late_share
from .settings import Baseline, BenchSettings


@dataclass(frozen=True, slots=True)
class Resized:
    """A scale-up and the scale-down after it.

    bytes_moved: copied or read by the scale-up. bytes_lower_bound: what has to move for as many devices. long_failed:
    answers that were being written while it scaled down, and did not go on.
    """

    up: Change
    down: Change
    bytes_moved: int
    bytes_lower_bound: int
    long_failed: int = 0


async def elastic(settings: BenchSettings, options: PoolOptions) -> list[Resized]:
    """Scale up and down `repeats` times, by resizes."""
    async with Bed.started(settings, options) as bed:
        return [await _up_and_down(bed) for _ in range(settings.repeats)]


async def simulated(settings: BenchSettings, options: PoolOptions) -> tuple[list[Resized], float | None]:
    """The same on simulated devices; also how late this host was with their steps, see `late_share`."""
    async with Bed.started(settings, options) as bed:
        runs = [await _up_and_down(bed) for _ in range(settings.repeats)]
        await bed.load.stop()
        return runs, await late_share(bed.engines[0], most=max(settings.size, settings.target))


async def _up_and_down(bed: Bed) -> Resized:
    settings, engine = bed.settings, bed.engines[0]

    async def resize(size: int) -> None:
        await engine.resize(size)

    up = await bed.change(lambda: resize(settings.target))
    status = engine.resize_status
    down, long_failed = await _down(bed, engine, lambda: resize(settings.size))
    await asyncio.sleep(settings.warm_seconds)
    return Resized(up, down, status.bytes_moved, status.bytes_lower_bound, long_failed)


async def _down(bed: Bed, engine: PoolEngine, do: Callable[[], Awaitable[None]]) -> tuple[Change, int]:
    """Scale down by `do` while `engine` has long answers to write; also how many of those were cut short."""
    async with _long_answers(bed.settings, engine) as answers:
        change = await bed.change(do)
    return change, sum(not answer.result() for answer in answers)


@asynccontextmanager
async def _long_answers(settings: BenchSettings, engine: PoolEngine) -> AsyncGenerator[list[asyncio.Task[bool]]]:
    """Answers that have run for a while at the start of the block and are still being written at its end."""
    enough = asyncio.Event()
    answers = [asyncio.create_task(_long_answer(settings, engine, enough)) for _ in range(settings.clients)]
    await asyncio.sleep(settings.warm_seconds)
    yield answers
    enough.set()
    await asyncio.gather(*answers)


async def _long_answer(settings: BenchSettings, engine: PoolEngine, enough: asyncio.Event) -> bool:
    """An answer of which, once it is enough, one more token is awaited; returns whether that or its end came."""
    options = GenerationOptions(max_tokens=settings.long_tokens, ignore_eos=True)
    async with aclosing(engine.outputs_of(engine.submit([5, 6, 7], options))) as outputs:
        async for output in outputs:
            if output.finish:
                return output.finish == "length"
            if enough.is_set():
                return True
    return False


async def cold_restart(settings: BenchSettings) -> Resized:
    """End the pool and start another at the new size; what runs is lost."""
    async with Bed.started(settings, settings.options(settings.size)) as bed:
        bound = bed.engines[0].plan(settings.target).bytes_lower_bound
        up = await bed.change(lambda: _restart(bed, settings.target))
        # What a pool has served before it is resized for the last time: its cache fills, which is no resize's doing.
        filled = await bed.change(lambda: _serve_as_much(bed))
        moved = _bytes_read(bed.engines[0])
        down = await bed.change(lambda: _restart(bed, settings.size))
        return Resized(replace(up, peak_bytes=max(up.peak_bytes, filled.peak_bytes)), down, moved, bound)


async def _restart(bed: Bed, size: int) -> None:
    bed.load.engines.clear()
    await bed.end(bed.engines[0])
    bed.load.engines.append(await bed.start(bed.settings.options(size)))


async def _serve_as_much(bed: Bed) -> None:
    settings = bed.settings
    await asyncio.sleep(settings.warm_seconds)
    for _ in range(settings.repeats - 1):
        async with _long_answers(settings, bed.engines[0]):
            pass
        await asyncio.sleep(settings.warm_seconds)


async def baseline(kind: Baseline, settings: BenchSettings) -> Resized:
    """Start a second pool beside the first, and later go back.

    horizontal_replica: of the first one's size, and both serve, until it finishes what it has and ends. extravagant: of
    the new size on devices of its own; it takes over, and one of the old size from it. colocated: the same on the old
    devices, for which both have to do with half of the cache.
    """
    if kind == "horizontal_replica":
        return await _replicated(settings)
    if kind == "colocated":
        settings = replace(settings, kv_blocks=settings.kv_blocks // 2)
    return await _replaced(settings)


async def _replicated(settings: BenchSettings) -> Resized:
    options = settings.options(settings.size)
    async with Bed.started(settings, options) as bed:
        bound = bed.engines[0].plan(2 * settings.size).bytes_lower_bound

        async def add() -> None:
            bed.load.engines.append(await bed.start(options))

        up = await bed.change(add)
        replica = bed.engines[1]
        moved = _bytes_read(replica)
        down, long_failed = await _down(bed, replica, lambda: _retire(bed, replica))
        return Resized(up, down, moved, bound, long_failed)


async def _replaced(settings: BenchSettings) -> Resized:
    async with Bed.started(settings, settings.options(settings.size)) as bed:
        bound = bed.engines[0].plan(settings.target).bytes_lower_bound
        first = bed.engines[0]
        up = await bed.change(lambda: _take_over(bed, settings.target))
        await _retire(bed, first)
        second = bed.engines[0]
        moved = _bytes_read(second)
        down, long_failed = await _down(bed, second, lambda: _take_over(bed, settings.size))
        await _retire(bed, second)
        return Resized(up, down, moved, bound, long_failed)


async def _take_over(bed: Bed, size: int) -> None:
    """A new pool gets all requests from now on."""
    bed.load.engines[:] = [await bed.start(bed.settings.options(size))]


async def _retire(bed: Bed, engine: PoolEngine) -> None:
    """Ask a pool nothing more, let it finish what it has, and end it."""
    if engine in bed.load.engines:
        bed.load.engines.remove(engine)
    await engine.drain()
    await bed.end(engine)


def _bytes_read(engine: PoolEngine) -> int:
    """What a new pool had to read: all experts, and the shared weights for each device."""
    layout, placement = engine.cluster.layout, engine.cluster.placement
    experts = sum(len(placement.held_by(number)) for number in placement.devices)
    return experts * layout.expert_bytes + len(placement.devices) * layout.shared_bytes


def middle(values: Sequence[float | None]) -> float | None:
    """The median of those that are known."""
    known = [value for value in values if value is not None]
    return median(known) if known else None
