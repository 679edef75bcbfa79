"""A pool that ends when it has no device, and starts when it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from slarag.backends.elastic.cluster.options import PoolOptions
from slarag.backends.elastic.errors import WorkerGoneError
from slarag.backends.elastic.http.app import build_app
from slarag.backends.elastic.http.waking import Awake, WakingApp
from slarag.backends.elastic.serve.engine import PoolEngine
from slarag.backends.pool.driver import HttpPool
from slarag.backends.pool.observation import Target


class Pools:
    """Counts starts and ends; its application answers once `may_answer` is set."""

    def __init__(self) -> None:
        self.started: list[int | None] = []
        self.ended = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.entered = asyncio.Event()
        self.fails = False

    async def start(self, devices: int | None) -> Awake:
        await self.may_start.wait()
        if self.fails:
            raise WorkerGoneError("the zygote did not start")
        self.started.append(devices)
        return Awake(self.app, self.close)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/v1/completions":
            self.entered.set()
            await self.may_answer.wait()
        body = (await receive())["body"]
        await PlainTextResponse(f"{scope['path']} {body.decode()}")(scope, receive, send)

    async def close(self) -> None:
        self.ended += 1


def run(use: Callable[[Pools, WakingApp, httpx.AsyncClient], Awaitable[None]]) -> None:
    async def main() -> None:
        pools = Pools()
        app = WakingApp(pools.start, card={"id": "tiny"})
        async with client_of(app) as client:
            await use(pools, app, client)

    asyncio.run(main())


def client_of(app: ASGIApp) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://pool")


def test_requests_for_work_start_it_once_and_looking_does_not() -> None:
    async def use(pools: Pools, app: WakingApp, client: httpx.AsyncClient) -> None:
        looks = [await client.get(path) for path in ("/health", "/metrics", "/load", "/pool")]
        assert [reply.status_code for reply in looks] == [200, 200, 200, 200]
        assert [look.json()["devices"] for look in looks[2:]] == [0, 0]
        assert looks[3].json()["workers"] == []
        assert (await client.get("/v1/models")).json()["data"][0]["id"] == "tiny"
        assert (await client.get("/nothing")).status_code == 503
        status = (await client.post("/is_scaling_elastic_ep")).json()
        assert (status["phase"], status["size"], status["is_scaling_elastic_ep"]) == ("idle", 0, False)
        plan = (await client.post("/scale_elastic_ep", json={"new_data_parallel_size": 2, "dry_run": True})).json()
        assert (plan["joining"], plan["leaving"]) == (2, 0)
        assert not app.is_awake
        assert pools.started == []
        replies = await asyncio.gather(*(client.post("/v1/completions", content=str(n)) for n in range(3)))
        assert [reply.text for reply in replies] == [f"/v1/completions {n}" for n in range(3)]
        assert pools.started == [None]
        assert app.cold_start_s is not None
        assert (await client.get("/load")).text == "/load "

    run(use)


def test_it_ends_when_told_to_have_no_device_and_starts_with_as_many_as_told() -> None:
    async def use(pools: Pools, app: WakingApp, client: httpx.AsyncClient) -> None:
        body = {"new_data_parallel_size": 3}
        assert "new_data_parallel_size" in (await client.post("/scale_elastic_ep", json=body)).text
        assert (await client.post("/scale_elastic_ep", json={"new_data_parallel_size": 0})).status_code == 200
        assert (pools.started, pools.ended, app.is_awake) == ([3], 1, False)
        assert "cold_start_seconds" in (await client.get("/metrics")).text
        await client.post("/v1/completions")
        assert (pools.started, pools.ended) == ([3, None], 1)

    run(use)


def test_what_runs_is_finished_before_it_ends_and_what_comes_meanwhile_starts_it_again() -> None:
    async def use(pools: Pools, app: WakingApp, client: httpx.AsyncClient) -> None:
        await app.wake()
        pools.may_answer.clear()
        running = asyncio.create_task(client.post("/v1/completions", content="first"))
        await pools.entered.wait()
        ending = asyncio.create_task(app.end())
        later = asyncio.create_task(client.post("/v1/completions", content="second"))
        for _ in range(20):
            await asyncio.sleep(0)
        assert pools.ended == 0
        pools.may_answer.set()
        await ending
        assert [(await task).text[-6:] for task in (running, later)] == [" first", "second"]
        assert (len(pools.started), pools.ended) == (2, 1)

    run(use)


@pytest.mark.parametrize(
    ("bad", "field"),
    [
        ({"new_data_parallel_size": 0, "foo": 3}, "foo"),
        ({"new_data_parallel_size": 0, "drain_timeout": 0}, "drain_timeout"),
        ({"new_data_parallel_size": -1}, "new_data_parallel_size"),
        ({"new_data_parallel_size": "2"}, "new_data_parallel_size"),
        ({}, "new_data_parallel_size"),
    ],
)
def test_a_body_that_cannot_be_is_refused_asleep_and_awake(bad: dict[str, Any], field: str) -> None:
    async def use(pools: Pools, app: WakingApp, client: httpx.AsyncClient) -> None:
        for _ in range(2):
            reply = await client.post("/scale_elastic_ep", json=bad)
            assert (reply.status_code, reply.json()["error"]["param"]) == (400, field)
            await app.wake()
        assert (await client.post("/scale_elastic_ep", content="{")).json()["error"]["param"] == "body"
        assert (pools.started, app.is_awake) == ([None], True)

    run(use)


def test_while_it_is_to_end_it_serves_on_and_a_request_calls_the_end_off() -> None:
    async def use(pools: Pools, app: WakingApp, client: httpx.AsyncClient) -> None:
        await app.wake()
        running = await begin(pools, client, "first")
        zero: dict[str, Any] = {"new_data_parallel_size": 0, "operation_id": "night"}
        late = await client.post("/scale_elastic_ep", json=zero | {"drain_timeout": 1e-6})
        assert (late.status_code, late.json()["error"]["param"]) == (408, "drain_timeout")
        status = (await client.post("/is_scaling_elastic_ep")).json()
        assert (status["phase"], status["size"], status["operation_id"]) == ("preparing", 1, "night")
        ending = asyncio.create_task(client.post("/scale_elastic_ep", json=zero))
        second = await begin(pools, client, "second")
        refused = await ending
        assert (refused.status_code, "called off" in refused.text) == (409, True)
        pools.may_answer.set()
        assert [(await task).text[-6:] for task in (running, second)] == [" first", "second"]
        assert (pools.started, pools.ended, app.is_awake) == ([None], 0, True)
        status = (await client.post("/is_scaling_elastic_ep")).json()
        assert (status["phase"], "called off" in status["error"]) == ("failed", True)

    run(use)


def test_past_its_time_the_end_goes_on_until_what_runs_is_finished() -> None:
    async def use(pools: Pools, app: WakingApp, client: httpx.AsyncClient) -> None:
        await app.wake()
        running = await begin(pools, client, "first")
        zero: dict[str, Any] = {"new_data_parallel_size": 0, "operation_id": "night"}
        assert (await client.post("/scale_elastic_ep", json=zero | {"drain_timeout": 1e-6})).status_code == 408
        assert (await client.get("/load")).text == "/load "  # still the pool's own
        waiting = asyncio.create_task(client.post("/scale_elastic_ep", json=zero))
        pools.may_answer.set()
        assert ((await running).status_code, (await waiting).status_code) == (200, 200)
        assert (pools.ended, app.is_awake) == (1, False)
        status = (await client.post("/is_scaling_elastic_ep")).json()
        assert (status["phase"], status["target"], status["operation_id"]) == ("completed", 0, "night")
        # Done once; another size is another operation.
        assert (await client.post("/scale_elastic_ep", json=zero)).status_code == 200
        other = await client.post("/scale_elastic_ep", json=zero | {"new_data_parallel_size": 2})
        assert (other.status_code, pools.started) == (409, [None])

    run(use)


def test_another_size_takes_the_place_of_an_end_that_waits() -> None:
    async def use(pools: Pools, app: WakingApp, client: httpx.AsyncClient) -> None:
        await app.wake()
        running = await begin(pools, client, "first")
        late = {"new_data_parallel_size": 0, "drain_timeout": 1e-6}
        assert (await client.post("/scale_elastic_ep", json=late)).status_code == 408
        growing = asyncio.create_task(client.post("/scale_elastic_ep", json={"new_data_parallel_size": 3}))
        pools.may_answer.set()
        assert "new_data_parallel_size" in (await growing).text
        await running
        # What the pool says of its own resizes counts again.
        assert (await client.post("/is_scaling_elastic_ep")).text.startswith("/is_scaling")
        assert (pools.ended, app.is_awake) == (0, True)

    run(use)


def test_a_start_past_its_time_is_said_so_and_goes_on() -> None:
    async def use(pools: Pools, app: WakingApp, client: httpx.AsyncClient) -> None:
        pools.may_start.clear()
        body = {"new_data_parallel_size": 2, "drain_timeout": 1e-6}
        assert (await client.post("/scale_elastic_ep", json=body)).status_code == 408
        pools.may_start.set()
        assert (await client.post("/v1/completions")).status_code == 200
        assert pools.started == [2]

    run(use)


async def begin(pools: Pools, client: httpx.AsyncClient, content: str) -> asyncio.Task[httpx.Response]:
    """A request that the pool has got and does not answer yet."""
    pools.may_answer.clear()
    pools.entered.clear()
    task = asyncio.create_task(client.post("/v1/completions", content=content))
    await pools.entered.wait()
    return task


def test_a_pool_that_does_not_start_is_said_so_and_tried_again() -> None:
    async def use(pools: Pools, app: WakingApp, client: httpx.AsyncClient) -> None:
        pools.fails = True
        reply = await client.post("/v1/completions")
        assert (reply.status_code, "did not start" in reply.text) == (503, True)
        pools.fails = False
        assert (await client.post("/v1/completions")).status_code == 200

    run(use)


def test_a_real_pool_sleeps_and_answers_as_before(tiny_folder: Path) -> None:
    options = PoolOptions(model=tiny_folder, page_bytes=4096, kv_blocks=32, standbys=0)

    async def start(devices: int | None) -> Awake:
        engine = await PoolEngine.start(replace(options, devices=devices or 1))
        made = build_app(engine, model="tiny", token="t", more_gauges=lambda: {"slarag:cold_start_seconds": 1.5})
        return Awake(made, engine.aclose, pool=engine, describe=made.openapi)

    async def main() -> None:
        app = WakingApp(start, card={"id": "tiny"}, layout=options.layout())
        driver = HttpPool("http://pool", devices=0, token="t", transport=httpx.ASGITransport(app))
        async with client_of(app) as client:
            client.headers["Authorization"] = "Bearer t"
            before = await answer_of(client)
            assert (await client.get("/load")).json()["model"] == "tiny"
            assert "slarag:cold_start_seconds 1.5" in (await client.get("/metrics")).text
            described = (await client.get("/openapi.json")).json()
            await scaled(client, 2)
            leave = (await scaled(client, 0, dry_run=True)).json()
            assert (leave["leaving"], leave["bytes_to_move"]) == (2, 0)
            await driver.scale(Target(0))
            while (await driver.observe()).is_resizing:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert (app.is_awake, (await driver.observe()).devices) == (False, 0)
            assert (await client.get("/openapi.json")).json() == described
            assert [row["target"] for row in (await client.get("/pool")).json()["resizes"]] == [2, 0]
            join = (await scaled(client, 2, dry_run=True)).json()
            assert join["bytes_to_move"] == join["bytes_lower_bound"] > 0
            assert ((await scaled(client, 9)).status_code, app.is_awake) == (400, False)
            assert await answer_of(client) == before
        await driver.aclose()
        await app.end()

    asyncio.run(main())


async def answer_of(client: httpx.AsyncClient) -> str:
    body = {"model": "tiny", "prompt": "a few words", "max_tokens": 4, "temperature": 0}
    return (await client.post("/v1/completions", json=body, timeout=None)).json()["choices"][0]["text"]


async def scaled(client: httpx.AsyncClient, devices: int, **more: Any) -> httpx.Response:
    return await client.post("/scale_elastic_ep", json={"new_data_parallel_size": devices, **more}, timeout=None)
