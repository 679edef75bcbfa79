"""Requests go on while workers are killed or stopped, while nothing can be forked, and while the pool is resized."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from slarag.backends.elastic.errors import ResizeError, WorkerGoneError
from slarag.backends.elastic.serve.engine import PoolEngine

from .pools import PROMPTS, generate_all, pool, run, until, workers


def test_where_nothing_can_be_forked_the_pool_shrinks_and_its_sequences_go_on(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise WorkerGoneError("no process can be had")

    async def use() -> None:
        async with pool(tiny_folder, devices=3, standbys=0) as engine:
            expected = await generate_all(engine, 60)
            for call in ("fork", "renew"):
                monkeypatch.setattr(engine.cluster.processes, call, refuse)
            running = asyncio.create_task(generate_all(engine, 60))
            await until(lambda: engine.running == len(PROMPTS))
            os.kill(workers(engine)[1], signal.SIGKILL)
            assert await running == expected
            assert (engine.size, engine.cluster.placement.devices) == (2, (0, 2))
            os.kill(workers(engine)[1], signal.SIGKILL)
            assert await generate_all(engine, 60) == expected
            assert engine.size == 1

    run(use())


def test_the_last_device_waits_until_a_process_can_be_forked_again(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object) -> None:
        raise WorkerGoneError("no process can be had")

    async def use() -> None:
        async with pool(tiny_folder, devices=1, standbys=0) as engine:
            expected = await generate_all(engine)
            with monkeypatch.context() as patched:
                patched.setattr(engine.cluster.processes, "fork", refuse)
                os.kill(workers(engine)[0], signal.SIGKILL)
                await until(lambda: engine.cluster.devices[0].is_lost)
                answers = asyncio.create_task(generate_all(engine))
            assert await answers == expected

    run(use())


@pytest.mark.parametrize("how", [signal.SIGSTOP, signal.SIGKILL])
def test_a_lost_zygote_is_replaced_and_no_worker_notices(tiny_folder: Path, how: signal.Signals) -> None:
    async def use() -> None:
        async with pool(tiny_folder, standbys=0) as engine:
            expected = await generate_all(engine)
            before = workers(engine)
            os.kill(engine.cluster.processes.zygote_pid, how)
            assert await generate_all(engine) == expected
            assert workers(engine) == before
            os.kill(before[0], signal.SIGKILL)
            assert await generate_all(engine) == expected
            assert workers(engine)[1] == before[1]

    run(use())


@pytest.mark.parametrize("step", ["share", "attach", "map"])
def test_a_resize_that_a_dying_worker_undid_is_done_after_all(tiny_folder: Path, step: str) -> None:
    async def use() -> None:
        async with pool(tiny_folder) as engine:
            expected, victim = await generate_all(engine), workers(engine)[0]

            def kill_once(name: str) -> None:
                if name == step and victim in workers(engine):
                    os.kill(victim, signal.SIGKILL)

            await engine.resize(3, at_step=kill_once)
            assert (engine.size, engine.resize_status.phase) == (3, "completed")
            assert await generate_all(engine) == expected
            assert victim not in workers(engine)

    run(use())


def test_requests_complete_unchanged_through_kills_stops_and_resizes(tiny_folder: Path) -> None:
    rng = random.Random(3)

    async def disturb(engine: PoolEngine, how: signal.Signals, size: int) -> None:
        victim = rng.choice(workers(engine))
        change = asyncio.create_task(engine.resize(size))
        await asyncio.sleep(0)
        os.kill(victim, how)
        with suppress(ResizeError):
            await change
        await until(lambda: victim not in workers(engine))

    async def disturb_often(engine: PoolEngine) -> None:
        for how, size in ((signal.SIGKILL, 3), (signal.SIGSTOP, 2), (signal.SIGKILL, 1), (signal.SIGKILL, 2)):
            await disturb(engine, how, size)

    async def use() -> None:
        async with pool(tiny_folder) as engine:
            expected = await generate_all(engine)
            disturbing = asyncio.create_task(disturb_often(engine))
            rounds = 0
            while not disturbing.done() or rounds < 5:
                assert await generate_all(engine) == expected
                rounds += 1
            await disturbing

    run(use())
