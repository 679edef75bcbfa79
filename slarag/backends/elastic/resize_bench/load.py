"""Clients that ask a pool without a break, and what they see."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from statistics import quantiles

from ....sla.errors import SlaragError
from ..serve.engine import PoolEngine
from ..serve.sequence import GenerationOptions

_BACK_OFF_SECONDS = 0.01


@dataclass(slots=True)
class Load:
    """engines: those that take requests, in turn; none for as long as nothing serves.

    tokens: since when each was waited for and when it came, seconds on the monotonic clock. gaps: (when it ended,
    seconds). failed: answers cut short. refused: requests that were turned away, for whatever reason.
    """

    engines: list[PoolEngine]
    clients: int
    prompt_tokens: int
    answer_tokens: int
    tokens: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    gaps: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    done: int = 0
    failed: int = 0
    refused: int = 0
    _tasks: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])
    _turn: int = 0

    def start(self) -> None:
        """Let the clients ask."""
        self._tasks = [asyncio.create_task(self._ask(number)) for number in range(self.clients)]

    async def stop(self) -> None:
        """Stop them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def rate(self, start: float, end: float) -> float:
        """Tokens per second between two times, each spread evenly over the time that it took.

        A step brings a token for each of its answers at once: counted when they come, a span of a few steps would seem
        to have more or fewer of them by chance.
        """
        shares = (
            (min(at, end) - max(since, start)) / (at - since)
            for since, at in self.tokens
            if since < end and at > start and at > since
        )
        return sum(shares) / (end - start)

    def longest_gap(self, start: float, end: float) -> float:
        """The longest wait for a token that ended between two times, seconds."""
        return max((gap for at, gap in self.gaps if start <= at < end), default=0.0)

    def gap_p99(self, start: float, end: float) -> float | None:
        """The 99th percentile of waits for a token, seconds; None for too few."""
        found = [gap for at, gap in self.gaps if start <= at < end]
        return quantiles(found, n=100)[98] if len(found) > 1 else None

    async def _ask(self, client: int) -> None:
        while True:
            self._turn += 1
            prompt = [(client * 7 + self._turn * 13 + k) % 250 for k in range(self.prompt_tokens)]
            if not self.engines:
                await asyncio.sleep(_BACK_OFF_SECONDS)
                continue
            try:
                await self._answer(self.engines[self._turn % len(self.engines)], prompt)
            except SlaragError:
                self.refused += 1
                await asyncio.sleep(_BACK_OFF_SECONDS)

    async def _answer(self, engine: PoolEngine, prompt: list[int]) -> None:
        sequence = engine.submit(prompt, GenerationOptions(max_tokens=self.answer_tokens, ignore_eos=True))
        since, before, finish = time.monotonic(), None, None
        async for output in engine.outputs_of(sequence):
            now, finish = time.monotonic(), output.finish
            if output.token is not None:
                self.tokens.append((since, now))
                since = now
                if before is not None:
                    self.gaps.append((now, now - before))
                before = now
        self.done += 1
        self.failed += finish != "length"


async def first_token(engine: PoolEngine) -> None:
    """Have one token served."""
    sequence = engine.submit([1, 2, 3], GenerationOptions(max_tokens=1, ignore_eos=True))
    async for _ in engine.outputs_of(sequence):
        pass
