"""A pool that serves gives its busiest experts copies by itself, and again after a resize; never during one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from slarag.backends.elastic.balance import hot_replicas, unevenness
from slarag.backends.elastic.cluster.options import PoolOptions
from slarag.backends.elastic.http.app import build_app
from slarag.backends.elastic.placement import Placement
from slarag.backends.elastic.serve.engine import PoolEngine
from slarag.backends.elastic.serve.hot_experts import HotExperts
from slarag.cli import main

from .conftest import TINY
from .pools import SIZES, generate_all, pool, run, until

NEVER_S = 3600.0


class Routing:
    """Counts that grow by `step` at each look: the first expert of each layer gets nearly all tokens."""

    def __init__(self) -> None:
        self.total = np.zeros((TINY.num_layers, TINY.num_experts), np.int64)
        self.step = np.ones_like(self.total)
        self.step[:, 0] = 2000

    async def read(self) -> NDArray[np.int64]:
        self.total = self.total + self.step
        return self.total


def looking_at(engine: PoolEngine, routing: Routing) -> HotExperts:
    return HotExperts(engine.cluster, engine.resizing, engine.metrics, routing.read, most=2)


def copies(engine: PoolEngine) -> int:
    return sum(map(len, engine.cluster.placement.replicas.values()))


def test_unevenness_is_what_copies_take_away() -> None:
    placement = Placement.initial([0, 1], 4, range(2))
    counts = [[90, 10, 0, 0], [25, 25, 25, 25]]
    assert unevenness(placement, counts) == pytest.approx((100 + 50) / 100)
    evened = placement.replicated(hot_replicas(placement, counts, {0: 1, 1: 1}))
    assert unevenness(evened, counts) < unevenness(placement, counts)
    assert unevenness(placement, [[0] * 4] * 2) == 1


def test_a_pool_has_memory_for_the_copies_that_it_may_make(tiny_folder: Path) -> None:
    plain, roomy = (PoolOptions(model=tiny_folder, hot_expert_copies=most, **SIZES) for most in (0, 3))
    layout = plain.layout()
    assert roomy.capacity(layout) >= plain.capacity(layout) + 3 * layout.expert_bytes


def test_copies_are_made_where_it_is_worth_it_and_again_after_a_resize(tiny_folder: Path) -> None:
    async def use() -> None:
        options = {"min_devices": 2, "hot_expert_copies": 2, "hot_expert_seconds": NEVER_S}
        async with pool(tiny_folder, **options) as engine:
            expected, routing = await generate_all(engine), Routing()
            hot = looking_at(engine, routing)
            assert await hot.look()
            assert 1 <= copies(engine) <= 4
            assert await generate_all(engine) == expected
            assert not await hot.look()
            resize = asyncio.create_task(engine.resize(3))
            await until(lambda: engine.resizing.status.is_running)
            assert not await hot.look()
            await resize
            assert copies(engine) == 0
            assert await hot.look()
            assert copies(engine) >= 1
            assert await generate_all(engine) == expected
            assert engine.metrics.rebalances == 2

    run(use())


def test_a_few_tokens_or_even_ones_are_no_reason(tiny_folder: Path) -> None:
    async def use() -> None:
        async with pool(tiny_folder, min_devices=2, hot_expert_copies=2, hot_expert_seconds=NEVER_S) as engine:
            few, even = Routing(), Routing()
            few.step[:, 0] = 20
            even.step[:] = 1000
            for routing in (few, even):
                assert not await looking_at(engine, routing).look()
            assert (copies(engine), engine.metrics.rebalances) == (0, 0)

    run(use())


def test_a_pool_that_serves_does_so_by_itself_and_tells(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    routing = Routing()

    async def use() -> None:
        async with pool(tiny_folder, min_devices=2, hot_expert_copies=4, hot_expert_seconds=0.01) as engine:
            await until(lambda: engine.metrics.rebalances > 0)
            app = build_app(engine, model="tiny", token=None)
            client = httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://pool")
            page, told = (await client.get("/metrics")).text, (await client.get("/pool")).json()
            assert "slarag:rebalances_total 1" in page
            assert f"slarag:expert_copies {copies(engine)}" in page
            assert told["rebalances"] == 1
            assert sum(row["expert_copies"] for row in told["workers"]) == copies(engine) > 0
            for size in (3, 2):
                assert (await engine.resize(size)).phase == "completed"

    monkeypatch.setattr(PoolEngine, "routing_counts", lambda _: routing.read())
    run(use())


def test_a_reader_s_experts_get_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pool", "serve", "--hot-expert-copies", "2"]) == 2
    assert "--hot-expert-copies" in capsys.readouterr().err
