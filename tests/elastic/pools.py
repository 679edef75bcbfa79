"""A pool of the tiny model, and what is asked of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from slarag.backends.elastic.cluster.options import PoolOptions
from slarag.backends.elastic.serve.engine import PoolEngine
from slarag.backends.elastic.serve.sequence import GenerationOptions

PROMPTS = [[11, 200, 37, 5, 301, 90], [44, 256, 8], list(range(9, 30)), [100, 101, 102, 7]]
SIZES: dict[str, Any] = {"page_bytes": 4096, "kv_blocks": 96, "block_tokens": 8, "max_batch_tokens": 64}
PATIENCE_S = 120.0
"""How long a busy machine may take for anything."""


@asynccontextmanager
async def pool(folder: Path, **changes: Any) -> AsyncGenerator[PoolEngine]:
    """A pool of two devices, whose workers may be held up for long before they are taken to hang."""
    engine = await PoolEngine.start(
        PoolOptions(model=folder, **{"devices": 2, "hang_seconds": 20.0, **SIZES, **changes})
    )
    try:
        yield engine
    finally:
        await engine.aclose()


async def generate(engine: PoolEngine, prompt: list[int], tokens: int = 24) -> list[int]:
    """The greedy answer to a prompt."""
    sequence = engine.submit(prompt, GenerationOptions(max_tokens=tokens, ignore_eos=True))
    return [out.token async for out in engine.outputs_of(sequence) if out.token is not None]


async def generate_all(engine: PoolEngine, tokens: int = 24) -> list[list[int]]:
    """The answers to all prompts, asked at once."""
    return list(await asyncio.gather(*(generate(engine, prompt, tokens) for prompt in PROMPTS)))


async def until(is_so: Callable[[], bool]) -> None:
    """Poll: what is waited for happens in the system's processes, which no event of this loop tells of."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_so():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def workers(engine: PoolEngine) -> list[int]:
    """The processes of the workers that devices have."""
    return [device.worker.pid for device in engine.cluster.devices.values() if device.worker is not None]


def children() -> set[int]:
    """The processes that this one started."""
    return {int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()}


def run(work: Awaitable[None]) -> None:
    """Run a test's coroutine, which may not hang."""

    async def limited() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await work

    asyncio.run(limited())
