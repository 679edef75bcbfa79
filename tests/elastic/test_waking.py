"""A pool that ends when it has no device, and starts when it is asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
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
        self.entered = asyncio.Event()
        self.fails = False

    async def start(self, devices: int | None) -> Awake:
        await asyncio.sleep(0)
        if self.fails:
            raise WorkerGoneError("the zygote did not start")
        self.started.append(devices)
        return Awake(self.app, self.close)

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
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
        assert (await client.get("/openapi.json")).status_code == 503
        assert not app.is_awake
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

    async def start(_: int | None) -> Awake:
        engine = await PoolEngine.start(options)
        return Awake(build_app(engine, model="tiny", token="t"), engine.aclose)

    async def main() -> None:
        app = WakingApp(start)
        driver = HttpPool("http://pool", devices=0, token="t", transport=httpx.ASGITransport(app))
        async with client_of(app) as client:
            body = {"model": "tiny", "prompt": "a few words", "max_tokens": 4, "temperature": 0}
            texts = [(await client.post("/v1/completions", json=body, timeout=None)).json()["choices"][0]["text"]]
            await driver.scale(Target(0))
            while (await driver.observe()).is_resizing:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert not app.is_awake
            assert (await driver.observe()).devices == 0
            texts.append((await client.post("/v1/completions", json=body, timeout=None)).json()["choices"][0]["text"])
            assert texts[0] == texts[1]
        await driver.aclose()
        await app.end()

    asyncio.run(main())
