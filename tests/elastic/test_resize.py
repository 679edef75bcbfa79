"""Experts and sequences on their way: what arrives meanwhile, what is given back, and what a failure leaves."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from slarag.backends.elastic.cluster.cluster import Cluster
from slarag.backends.elastic.cluster.memory_line import MemoryLine
from slarag.backends.elastic.errors import MemoryServiceError, ResizeError
from slarag.backends.elastic.memory.client import MemoryClient, MemoryProcess
from slarag.backends.elastic.serve.engine import PoolEngine

from .pools import children, generate_all, pool, until


async def used_bytes(cluster: Cluster) -> dict[str, int]:
    devices = (await asyncio.to_thread(cluster.memory.client.usage))["devices"]
    return {number: device["used"] for number, device in devices.items()}


def failing_at(step: str, *, after: int = 0) -> Callable[[str], None]:
    seen: list[str] = []

    def fail(name: str) -> None:
        seen.append(name)
        if name == step and seen.count(step) > after:
            raise OSError("injected")

    return fail


def test_a_shrink_that_fails_takes_its_sequences_back_and_the_next_one_succeeds(tiny_folder: Path) -> None:
    async def fail(engine: PoolEngine, expected: list[list[int]], step: str, after: int) -> None:
        answers = asyncio.create_task(generate_all(engine))
        await asyncio.sleep(0)
        with pytest.raises(ResizeError, match="injected"):
            await engine.resize(1, at_step=failing_at(step, after=after))
        assert set(engine.loads) == set(engine.cluster.placement.devices) == {0, 1}
        assert await answers == expected

    async def use() -> None:
        async with pool(tiny_folder) as engine:
            expected, before = await generate_all(engine), await used_bytes(engine.cluster)
            for step, after in (("allocate", 0), ("map", 0), ("move", 3), ("commit", 0)):
                await fail(engine, expected, step, after)
                assert await used_bytes(engine.cluster) == before
            answers = asyncio.create_task(generate_all(engine))
            await asyncio.sleep(0)
            await engine.resize(1)
            assert await answers == expected
            assert (engine.size, len(engine.cluster.devices)) == (1, 1)

    asyncio.run(use())


@pytest.mark.parametrize("share", [0.01, 1.0])
def test_tokens_are_the_same_however_many_experts_may_exist_twice(tiny_folder: Path, share: float) -> None:
    async def use() -> None:
        async with pool(tiny_folder, double_held_share=share) as engine:
            expected = await generate_all(engine)
            for size in (3, 1, 4, 2):
                answers = asyncio.create_task(generate_all(engine))
                await asyncio.sleep(0)
                status = await engine.resize(size)
                assert status.bytes_moved == status.bytes_lower_bound
                assert await answers == expected

    asyncio.run(use())


def test_no_more_experts_than_allowed_exist_twice_and_old_pages_go(tiny_folder: Path) -> None:
    def held_bytes(cluster: Cluster) -> int:
        """Of all devices: one file is behind them."""
        return os.fstat(cluster.devices[0].attachment.file).st_blocks * 512

    async def use() -> None:
        async with pool(tiny_folder, double_held_share=0.1) as engine:
            cluster, held = engine.cluster, list[int]()
            experts = sum(map(len, cluster.placement.owners.values()))
            pages = -(-cluster.layout.expert_bytes // cluster.layout.page_bytes)
            await engine.resize(3, at_step=lambda step: held.append(held_bytes(cluster)) if step == "move" else None)
            assert len(held) > 1
            devices = (await asyncio.to_thread(cluster.memory.client.usage))["devices"]
            owned = sum(device["resident"] for device in devices.values())
            await until(lambda: held_bytes(cluster) == owned)
            assert max(held) - owned <= int(0.1 * experts) * pages * cluster.layout.page_bytes

    asyncio.run(use())


def test_a_line_answers_in_order_and_refuses_typed() -> None:
    async def use(client: MemoryClient) -> None:
        async with MemoryLine.opened(client) as line:
            copies = [asyncio.create_task(line.copy(0, 1, ["weights"])) for _ in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(MemoryServiceError, match="no device 9"):
                await line.release(9, ["any"])
            assert [copy.done() for copy in copies] == [True] * 3
            assert [await copy for copy in copies] == [5000] * 3

    memory = MemoryProcess.start(1 << 20, 4096)
    try:
        for device in (0, 1):
            memory.client.add_device(device, {"weights": 5000})
        asyncio.run(use(memory.client))
    finally:
        memory.close()


@pytest.mark.parametrize("delay_s", [0.0, 0.05, 0.2])
def test_a_pool_that_is_closed_during_a_resize_ends_it_first(tiny_folder: Path, delay_s: float) -> None:
    async def use() -> None:
        before = children()
        async with pool(tiny_folder, devices=1, standbys=0) as engine:
            resize = asyncio.create_task(engine.resize(2))
            await asyncio.sleep(delay_s)
            await engine.aclose()
            assert (await resize).phase == "completed"
        assert children() == before

    asyncio.run(use())


def test_an_operation_that_had_nothing_to_do_is_not_done_again_either(tiny_folder: Path) -> None:
    async def use() -> None:
        async with pool(tiny_folder) as engine:
            first = await engine.resize(2, operation_id="one")
            await engine.resize(1, operation_id="two")
            assert await engine.resize(2, operation_id="one") == first
            assert engine.size == 1

    asyncio.run(use())


def test_an_operation_that_joined_another_is_not_done_again(tiny_folder: Path) -> None:
    async def use() -> None:
        async with pool(tiny_folder) as engine:
            first = asyncio.create_task(engine.resize(3, operation_id="first"))
            await asyncio.sleep(0)
            joined = await engine.resize(3, operation_id="joined")
            assert (joined.operation_id, joined.bytes_moved) == ("joined", (await first).bytes_moved)
            nothing = await engine.resize(3, operation_id="nothing")
            assert (nothing.bytes_moved, nothing.seconds) == (0, 0.0)
            await engine.resize(2)
            assert await engine.resize(3, operation_id="joined") == joined
            assert engine.size == 2
            assert [status.target for status in engine.resizing.history] == [3, 2]

    asyncio.run(use())
