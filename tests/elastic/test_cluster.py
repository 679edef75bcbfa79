"""Devices as processes: the same logits over any number of them, through resizes, deaths and failed resizes.

One pool serves all tests here; each leaves it working.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest
import torch

from slarag.backends.elastic.cluster.cluster import Cluster
from slarag.backends.elastic.cluster.options import PoolOptions
from slarag.backends.elastic.cluster.resize import Resize, plan_resize
from slarag.backends.elastic.errors import CheckpointError, DeviceMemoryError, ResizeError

from .conftest import TINY
from .pools import until

PROMPT = [11, 200, 37, 5, 301, 90, 17, 44, 256, 8, 63]
BLOCKS = [3, 1, 7, 2, 6]
SIZES: dict[str, Any] = {"page_bytes": 4096, "kv_blocks": 32, "block_tokens": 8, "max_batch_tokens": 64}


@pytest.fixture(scope="module")
def cluster(tiny_folder: Path, runner: asyncio.Runner) -> Generator[Cluster]:
    made = runner.run(Cluster.start(PoolOptions(model=tiny_folder, devices=2, hang_seconds=20.0, **SIZES)))
    yield made
    runner.run(made.aclose())


@pytest.fixture(scope="module")
def expected(tiny_folder: Path) -> torch.Tensor:
    """Log-probabilities after each token of the prompt."""
    from transformers import Qwen3MoeForCausalLM

    model = Qwen3MoeForCausalLM.from_pretrained(tiny_folder).eval()
    with torch.inference_mode():
        return model(torch.tensor([PROMPT])).logits[0].log_softmax(-1)


async def step(cluster: Cluster, device: int, start: int, tokens: list[int]) -> list[Any]:
    """All log-probabilities after `tokens`."""
    everything = [0.0, 1.0, 0, 0, TINY.vocab_size]
    segments = [[0, start, tokens, 0, BLOCKS]]
    reply = await cluster.tell(cluster.devices[device], "step", segments=segments, sample=[everything], forget=[])
    return reply["sampled"][0]


def assert_matches(sampled: list[Any], expected: torch.Tensor) -> None:
    token, logprob, top = sampled
    found = torch.full((TINY.vocab_size,), math.nan)
    for index, value in top:
        found[index] = value
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-4)
    assert token == int(expected.argmax())
    assert logprob == pytest.approx(float(expected.max()), abs=1e-4)


async def read_all(cluster: Cluster, expected: torch.Tensor) -> None:
    """Prefill and two decodes on every device at the same time."""

    async def one(device: int) -> None:
        assert_matches(await step(cluster, device, 0, PROMPT[:9]), expected[8])
        for position in (9, 10):
            assert_matches(await step(cluster, device, position, [PROMPT[position]]), expected[position])

    await asyncio.gather(*(one(device) for device in cluster.placement.devices))


async def nothing_to_move() -> None:
    """No sequence lives outside of a step here."""


async def resize(cluster: Cluster, size: int, at_step: Callable[[str], None] = lambda _: None) -> Resize:
    transaction = Resize(cluster, plan_resize(cluster, size), at_step=at_step)
    await transaction.run(nothing_to_move)
    return transaction


async def usage(cluster: Cluster) -> dict[str, Any]:
    return await asyncio.to_thread(cluster.memory.client.usage)


def used_bytes(usage: dict[str, Any]) -> list[int]:
    return sorted(device["used"] for device in usage["devices"].values())


def test_logits_match_transformers_at_every_size(
    cluster: Cluster, runner: asyncio.Runner, expected: torch.Tensor
) -> None:
    async def at(size: int) -> None:
        done = await resize(cluster, size)
        assert done.bytes_moved == done.plan.bytes_to_move == done.plan.bytes_lower_bound
        assert len(cluster.devices) == size
        await read_all(cluster, expected)
        state = await usage(cluster)
        assert set(state["traffic"]["tensors_read"].values()) == {1}
        experts = len(cluster.layout.config.sparse_layers) * TINY.num_experts * cluster.layout.expert_bytes
        fixed = size * cluster.layout.bytes_on_device(0)
        assert sum(used_bytes(state)) == fixed + experts

    for size in (2, 4, 3, 1, 2):
        runner.run(at(size))


def test_a_decode_goes_on_while_the_pool_changes_under_it(
    cluster: Cluster, runner: asyncio.Runner, expected: torch.Tensor
) -> None:
    async def use() -> None:
        assert_matches(await step(cluster, 0, 0, PROMPT[:9]), expected[8])
        for size in (3, 2):
            change = asyncio.create_task(resize(cluster, size))
            while not change.done():
                assert_matches(await step(cluster, 0, 9, [PROMPT[9]]), expected[9])
            await change

    runner.run(use())


@pytest.mark.parametrize("at", ["allocate", "share", "attach", "introduce", "map", "move", "commit"])
@pytest.mark.parametrize("size", [1, 3])
def test_a_failure_before_the_commit_leaves_no_trace(
    cluster: Cluster, runner: asyncio.Runner, expected: torch.Tensor, at: str, size: int
) -> None:
    def fail(name: str) -> None:
        if name == at:
            raise OSError("injected")

    async def use() -> None:
        before, placement = used_bytes(await usage(cluster)), cluster.placement
        with pytest.raises(ResizeError, match="injected"):
            await resize(cluster, size, fail)
        assert used_bytes(await usage(cluster)) == before
        assert (cluster.placement.owners, cluster.placement.devices) == (placement.owners, placement.devices)
        await read_all(cluster, expected)

    runner.run(use())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("victim", [0, 1])
def test_a_lost_worker_is_replaced_and_its_sequences_go_on_from_their_blocks(
    cluster: Cluster, runner: asyncio.Runner, expected: torch.Tensor, how: signal.Signals, victim: int
) -> None:
    async def use() -> None:
        numbers = cluster.placement.devices
        assert_matches(await step(cluster, numbers[0], 0, PROMPT[:9]), expected[8])
        device = cluster.devices[numbers[victim]]
        assert device.worker is not None
        os.kill(device.worker.pid, how)
        if victim == 0:
            await device.worker.gone()
            await asyncio.sleep(0)
            await device.serving.wait()
        # With victim 1 this step starts while the peer that holds half of the experts is dead or stopped.
        assert_matches(await step(cluster, numbers[0], 9, [PROMPT[9]]), expected[9])

    runner.run(use())


def test_workers_that_die_while_experts_move_are_replaced_and_the_moves_go_on(
    cluster: Cluster, runner: asyncio.Runner, expected: torch.Tensor
) -> None:
    killed: list[int] = []

    def killer() -> Callable[[str], None]:
        moves: list[str] = []

        def kill_two(name: str) -> None:
            moves.extend([name] if name == "move" else [])
            for device in list(cluster.devices.values())[:2]:
                if name == "move" and len(moves) == 2 and device.worker is not None:
                    os.kill(device.worker.pid, signal.SIGKILL)
                    killed.append(device.worker.pid)

        return kill_two

    async def use() -> None:
        for size in (3, 2):
            await resize(cluster, size, killer())
            # The moves may be over before anybody has heard of the deaths.
            await until(lambda: cluster.replaced >= len(killed))
            await asyncio.gather(*(device.serving.wait() for device in cluster.devices.values()))
            await read_all(cluster, expected)
        assert len(killed) == 4

    runner.run(use())


def test_sizes_that_cannot_be_are_refused(cluster: Cluster) -> None:
    for size in (0, TINY.num_experts + 1):
        with pytest.raises(ResizeError, match="ask for 1 to 8 devices"):
            plan_resize(cluster, size)


def test_what_does_not_fit_or_cannot_be_read_fails_at_the_start(tiny_folder: Path, tmp_path: Path) -> None:
    async def start(folder: Path, **changes: Any) -> None:
        await Cluster.start(PoolOptions(model=folder, **{**SIZES, **changes}))

    with pytest.raises(DeviceMemoryError, match="are free"):
        asyncio.run(start(tiny_folder, capacity_bytes=200_000))
    with pytest.raises(CheckpointError):
        asyncio.run(start(tmp_path))


@pytest.mark.parametrize("without", [("page_remap",), ("page_remap", "peer_copy", "zero_copy")])
def test_a_pool_without_its_mechanisms_computes_the_same(
    tiny_folder: Path, expected: torch.Tensor, without: tuple[Any, ...]
) -> None:
    async def use() -> None:
        cluster = await Cluster.start(PoolOptions(model=tiny_folder, devices=2, standbys=0, without=without, **SIZES))
        try:
            before = used_bytes(await usage(cluster))
            for size in (3, 2):
                done = await resize(cluster, size)
                assert done.bytes_moved == done.plan.bytes_lower_bound
                await read_all(cluster, expected)
            assert used_bytes(await usage(cluster)) == before
        finally:
            await cluster.aclose()

    asyncio.run(use())
