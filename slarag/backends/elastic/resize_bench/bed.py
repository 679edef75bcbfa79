"""A pool under load that something is done to, and what that does to those who ask."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ..cluster.options import PoolOptions
from ..serve.engine import PoolEngine
from .load import Load, first_token
from .memory import PeakMemory
from .settings import BenchSettings

_RATE_SECONDS = 3.0
_MIN_SPAN_SECONDS = 0.5
_AFTER_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class Change:
    """What a change of the pool cost. seconds: from command to serving at the new size.

    throughput_kept: tokens per second during it over those before. gap_over_p99: the longest wait for a token over the
    99th percentile before it. failed and refused: requests. None: the load was too small to tell.
    """

    seconds: float
    throughput_kept: float | None
    gap_over_p99: float | None
    peak_bytes: int
    failed: int
    refused: int


@dataclass(slots=True)
class Bed:
    """engines: all that run, which is what counts as held. load: who asks, and whom."""

    settings: BenchSettings
    load: Load
    engines: list[PoolEngine]

    @classmethod
    @asynccontextmanager
    async def started(cls, settings: BenchSettings, options: PoolOptions) -> AsyncGenerator[Bed]:
        """A pool that has served under load for a while."""
        engines = [await PoolEngine.start(options)]
        load = Load(list(engines), settings.clients, settings.prompt_tokens, settings.answer_tokens)
        try:
            await first_token(engines[0])
            load.start()
            await asyncio.sleep(settings.warm_seconds)
            yield cls(settings, load, engines)
        finally:
            await load.stop()
            for engine in engines:
                await engine.aclose()

    async def start(self, options: PoolOptions) -> PoolEngine:
        """One more pool, until it serves; nobody is told of it yet."""
        engine = await PoolEngine.start(options)
        self.engines.append(engine)
        await first_token(engine)
        return engine

    async def end(self, engine: PoolEngine) -> None:
        """End a pool that nobody asks any more."""
        self.engines.remove(engine)
        await engine.aclose()

    async def change(self, do: Callable[[], Awaitable[None]]) -> Change:
        """Do something to the pools, which ends when they serve at the new size."""
        load = self.load
        failed, refused, memory = load.failed, load.refused, PeakMemory(self.engines)
        async with memory.watched():
            started = time.monotonic()
            before = started - _RATE_SECONDS
            p99 = load.gap_p99(before, started)
            await do()
            ended = time.monotonic()
            until = max(ended, started + _MIN_SPAN_SECONDS)
            # What is on its way at the end of the span counts when it has come.
            await asyncio.sleep(until - ended + max(_AFTER_SECONDS, 2 * (p99 or 0.0)))
        rate = load.rate(before, started)
        return Change(
            seconds=ended - started,
            throughput_kept=load.rate(started, until) / rate if rate else None,
            gap_over_p99=load.longest_gap(started, ended + _AFTER_SECONDS) / p99 if p99 else None,
            peak_bytes=memory.bytes,
            failed=load.failed - failed,
            refused=load.refused - refused,
        )
