"""Hot experts get copies that make the busiest device less busy, and answers stay the same with them."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slarag.backends.elastic.balance import hot_replicas
from slarag.backends.elastic.errors import WorkerGoneError
from slarag.backends.elastic.placement import Placement, Replicas
from slarag.backends.elastic.serve.engine import PoolEngine

from .conftest import TINY
from .pools import generate_all, pool, run, workers


def busiest(placement: Placement, replicas: Replicas, layer: int, tokens: list[int]) -> float:
    loads = dict.fromkeys(placement.devices, 0.0)
    for expert, owner in enumerate(placement.owners[layer]):
        devices = (owner, *replicas.get((layer, expert), ()))
        for device in devices:
            loads[device] += tokens[expert] / len(devices)
    return max(loads.values())


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(2, 4), st.integers(0, 6), st.data())
def test_copies_fit_and_never_make_a_layer_less_even(layers: int, devices: int, room: int, data: st.DataObject) -> None:
    placement = Placement.initial(range(layers), 8, range(devices))
    row = st.lists(st.integers(0, 1000), min_size=8, max_size=8)
    counts = data.draw(st.lists(row, min_size=layers, max_size=layers))
    replicas = hot_replicas(placement, counts, dict.fromkeys(range(devices), room))
    held = [device for copies in replicas.values() for device in copies]
    assert all(held.count(device) <= room for device in range(devices))
    for (layer, expert), copies in replicas.items():
        assert len({placement.owners[layer][expert], *copies}) == 1 + len(copies)
    for layer, tokens in enumerate(counts):
        assert busiest(placement, replicas, layer, tokens) <= busiest(placement, {}, layer, tokens)


def test_an_expert_that_gets_everything_is_shared_by_all() -> None:
    placement = Placement.initial([0], 4, range(4))
    assert hot_replicas(placement, [[0, 90, 0, 0]], dict.fromkeys(range(4), 1)) == {(0, 1): (0, 2, 3)}
    assert hot_replicas(placement, [[5, 5, 5, 5]], dict.fromkeys(range(4), 1)) == {}


def test_a_lost_device_s_experts_are_where_their_replicas_were() -> None:
    placement = Placement.initial([0], 4, range(2)).replicated({(0, 0): (1,), (0, 3): (0,)})
    assert placement.to_message()["owners"] == {"0": [[0, 1], 0, 1, [1, 0]]}
    assert placement.without(0).owners == {0: (1, 0, 1, 1)}
    assert placement.without(0).replicas == {}


async def rebalanced(engine: PoolEngine) -> int:
    """As if the first expert of each layer got nearly all tokens."""
    return await engine.resizing.rebalance([[1000] + [1] * (TINY.num_experts - 1)] * TINY.num_layers, 4)


def used(engine: PoolEngine) -> int:
    return sum(device["used"] for device in engine.cluster.memory.client.usage()["devices"].values())


def test_answers_are_the_same_with_replicas_through_resizes_and_deaths(tiny_folder: Path) -> None:
    async def use() -> None:
        async with pool(tiny_folder) as engine:
            expected, before = await generate_all(engine), used(engine)
            assert await rebalanced(engine) >= TINY.num_layers
            assert used(engine) > before
            assert await generate_all(engine) == expected
            os.kill(workers(engine)[1], signal.SIGKILL)
            assert await generate_all(engine) == expected
            assert await rebalanced(engine) >= TINY.num_layers
            for size in (3, 2):
                await engine.resize(size)
                assert await generate_all(engine) == expected
            assert (engine.cluster.placement.replicas, used(engine)) == ({}, before)
            assert await engine.rebalance(2) >= 0
            assert await generate_all(engine) == expected

    run(use())


def test_a_lost_device_leaves_its_experts_to_their_replicas(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object) -> None:
        raise WorkerGoneError("no process can be had")

    async def use() -> None:
        async with pool(tiny_folder, devices=3, standbys=0) as engine:
            expected = await generate_all(engine, 60)
            await rebalanced(engine)
            for call in ("fork", "renew"):
                monkeypatch.setattr(engine.cluster.processes, call, refuse)
            running = asyncio.create_task(generate_all(engine, 60))
            await asyncio.sleep(0)
            os.kill(workers(engine)[0], signal.SIGKILL)
            assert await running == expected
            assert engine.size == 2
            fixed = 2 * engine.cluster.layout.bytes_on_device(0)
            experts = TINY.num_layers * TINY.num_experts * engine.cluster.layout.expert_bytes
            await engine.resizing.settled()
            assert used(engine) == fixed + experts

    run(use())
