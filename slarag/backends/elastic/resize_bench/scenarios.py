"""The ways to get from one size to another. Each really starts, resizes and ends pools.

The baselines are those of ElasticMoE (arXiv 2510.02613, section 6).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from ..cluster.options import PoolOptions
from ..serve.resizing import ResizeStatus
from ..serve.sequence import GenerationOptions
from .bed import Bed, Change
from .settings import Baseline, BenchSettings


@dataclass(frozen=True, slots=True)
class Resized:
    """A scale-up and the scale-down after it, each with what the pool says about it."""

    up: Change
    down: Change
    up_status: ResizeStatus
    long_failed: int


async def elastic(settings: BenchSettings, options: PoolOptions) -> list[Resized]:
    """Scale up and down `repeats` times, by resizes."""
    async with Bed.started(settings, options) as bed:
        return [await _up_and_down(bed) for _ in range(settings.repeats)]


async def _up_and_down(bed: Bed) -> Resized:
    settings, engine = bed.settings, bed.engines[0]

    async def resize(size: int) -> None:
        await engine.resize(size)

    up = await bed.change(lambda: resize(settings.target))
    status = engine.resize_status
    long = [asyncio.create_task(_long_answer(bed)) for _ in range(settings.clients)]
    await asyncio.sleep(settings.warm_seconds)
    down = await bed.change(lambda: resize(settings.size))
    finished = await asyncio.gather(*long)
    await asyncio.sleep(settings.warm_seconds)
    return Resized(up, down, status, sum(not is_whole for is_whole in finished))


async def _long_answer(bed: Bed) -> bool:
    """An answer that runs while the pool scales down; returns whether it was whole."""
    options = GenerationOptions(max_tokens=bed.settings.long_tokens, ignore_eos=True)
    engine = bed.engines[0]
    outputs = [output async for output in engine.outputs_of(engine.submit([5, 6, 7], options))]
    return outputs[-1].finish == "length"


async def cold_restart(settings: BenchSettings) -> Change:
    """End the pool and start another at the new size; what runs is lost."""
    async with Bed.started(settings, settings.options(settings.size)) as bed:

        async def restart() -> None:
            bed.load.engines.clear()
            await bed.end(bed.engines[0])
            bed.load.engines.append(await bed.start(settings.options(settings.target)))

        change = await bed.change(restart)
        # What a pool has served before it is resized for the last time: its cache fills, which is no resize's doing.
        filled = await bed.change(lambda: _serve_as_much(bed))
        return replace(change, peak_bytes=max(change.peak_bytes, filled.peak_bytes))


async def _serve_as_much(bed: Bed) -> None:
    settings = bed.settings
    await asyncio.sleep(settings.warm_seconds)
    for _ in range(settings.repeats - 1):
        long = [asyncio.create_task(_long_answer(bed)) for _ in range(settings.clients)]
        await asyncio.sleep(settings.warm_seconds)
        await asyncio.gather(*long)
        await asyncio.sleep(settings.warm_seconds)


async def baseline(kind: Baseline, settings: BenchSettings) -> Change:
    """Start a second pool beside the first.

    horizontal_replica: of the first one's size, and both serve. extravagant: of the new size on devices of its own; it
    takes over. colocated: the same on the old devices, for which both have to do with half of the cache.
    """
    old, new = _options(kind, settings)
    async with Bed.started(settings, old) as bed:
        first = bed.engines[0]

        async def add() -> None:
            bed.load.engines.append(await bed.start(new))
            if kind != "horizontal_replica":
                bed.load.engines.remove(first)

        change = await bed.change(add)
        if kind != "horizontal_replica":
            await first.drain()
        return change


def _options(kind: Baseline, settings: BenchSettings) -> tuple[PoolOptions, PoolOptions]:
    if kind == "horizontal_replica":
        return settings.options(settings.size), settings.options(settings.size)
    if kind == "colocated":
        settings = replace(settings, kv_blocks=settings.kv_blocks // 2)
    return settings.options(settings.size), settings.options(settings.target)


def middle(values: Sequence[float | None]) -> float | None:
    """The median of those that are known."""
    known = [value for value in values if value is not None]
    return median(known) if known else None
