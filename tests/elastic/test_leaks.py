"""After many resizes and killed workers the pool holds what it held before: files, memory, processes, mappings.

SLARAG_LEAK_ROUNDS sets how many resizes up and down there are (4 by default), and twice in five of them a worker dies.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from slarag.backends.elastic.errors import ResizeError
from slarag.backends.elastic.serve.engine import PoolEngine

from .pools import PATIENCE_S, children, generate_all, pool, until, workers

ROUNDS = int(os.environ.get("SLARAG_LEAK_ROUNDS", "4"))
ANONYMOUS_GROWTH_BYTES = 48 << 20
QUIET_S = 2.0


def open_files(pid: int | str = "self") -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def arena_bytes(engine: PoolEngine) -> int:
    usage = engine.cluster.memory.client.usage()["devices"]
    return sum(device["used"] for device in usage.values())


def arena_mappings(pid: int) -> int:
    """Bytes of arenas that a process has mapped."""
    total = 0
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if "memfd:slarag-device" in line:
            start, _, end = line.split()[0].partition("-")
            total += int(end, 16) - int(start, 16)
    return total


def anonymous_bytes(pid: int | str) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon"))


def snapshot(engine: PoolEngine) -> dict[str, object]:
    manager = engine.cluster.memory.process.pid
    return {
        "processes": len(children()),
        "our files": open_files(),
        "manager's files": open_files(manager),
        "zygote's files": open_files(engine.cluster.processes.zygote_pid),
        "workers' files": sorted(open_files(pid) for pid in workers(engine)),
        "arenas": arena_bytes(engine),
        "workers' mappings": sorted(arena_mappings(pid) for pid in workers(engine)),
        "standbys": engine.cluster.standbys,
    }


async def settled(engine: PoolEngine) -> dict[str, object]:
    """The snapshot once it has stayed as it is: a worker that a resize let go of ends a while after the resize."""
    held, since = snapshot(engine), time.monotonic()
    async with asyncio.timeout(PATIENCE_S):
        while time.monotonic() - since < QUIET_S or engine.cluster.standbys != 1:
            await asyncio.sleep(0.05)
            if (now := snapshot(engine)) != held:
                held, since = now, time.monotonic()
    return held


async def kill_one(engine: PoolEngine, index: int) -> None:
    victim = workers(engine)[index]
    os.kill(victim, signal.SIGKILL)
    await until(lambda: victim not in workers(engine) and len(workers(engine)) == 2)


async def disturb(engine: PoolEngine, number: int) -> None:
    if number % 5 in {1, 3}:
        await kill_one(engine, number % 2)
    for size in (3, 2):
        with suppress(ResizeError):
            await engine.resize(size)
        await generate_all(engine, 4)
    if engine.size != 2:
        await engine.resize(2)


def test_nothing_is_left_behind(tiny_folder: Path) -> None:
    async def use() -> None:
        before_all = (children(), open_files())
        async with pool(tiny_folder) as engine:
            await generate_all(engine)
            for number in range(2):
                await disturb(engine, number)
            before = await settled(engine)
            floor = anonymous_bytes("self") + anonymous_bytes(engine.cluster.memory.process.pid)
            for number in range(ROUNDS):
                await disturb(engine, number)
            assert await settled(engine) == before
            grown = anonymous_bytes("self") + anonymous_bytes(engine.cluster.memory.process.pid) - floor
            assert grown < ANONYMOUS_GROWTH_BYTES
        assert children() == before_all[0]
        assert open_files() <= before_all[1] + 2  # the event loop's own

    asyncio.run(use())


def test_a_pool_that_closes_leaves_no_file_and_no_worker(tiny_folder: Path) -> None:
    async def use() -> list[int]:
        async with pool(tiny_folder) as engine:
            for size in (3, 2):
                await engine.resize(size)
            return workers(engine)

    before = open_files()
    ended = asyncio.run(use())
    assert open_files() <= before
    assert not any(Path(f"/proc/{pid}").exists() for pid in ended)
