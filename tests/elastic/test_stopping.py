"""A pool that is told to stop listens until what runs is finished."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import httpx
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from slarag.backends.elastic.http.serve import bound
from slarag.backends.elastic.http.stopping import StoppingApp, StoppingServer


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncGenerator[tuple[StoppingServer, httpx.AsyncClient, asyncio.Task[None]]]:
    """A server of `app`, who asks it, and the task that it runs in, which is waited for."""
    stopping = StoppingApp(app)
    server = StoppingServer(stopping, uvicorn.Config(stopping, log_level="critical", lifespan="off"))
    with bound("127.0.0.1", 0) as listening:
        serving = asyncio.create_task(server.serve([listening]))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=url, timeout=None, trust_env=False) as client:
            yield server, client, serving
        await serving


def test_told_to_stop_it_says_so_and_refuses_work_until_what_runs_is_finished() -> None:
    entered, may_answer = asyncio.Event(), asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "POST":
            entered.set()
            await may_answer.wait()
        await PlainTextResponse(scope["path"])(scope, receive, send)

    async def main() -> None:
        async with served(app) as (server, client, _):
            assert (await client.get("/health")).status_code == 200
            running = asyncio.create_task(client.post("/v1/completions"))
            await entered.wait()
            server.handle_exit(signal.SIGTERM, None)
            async with httpx.AsyncClient(base_url=client.base_url, timeout=None, trust_env=False) as other:
                assert (await other.get("/health")).status_code == 503
                assert (await other.post("/v1/completions")).status_code == 503
                assert (await other.get("/load")).text == "/load"
            may_answer.set()
            assert (await running).text == "/v1/completions"

    asyncio.run(main())


def test_told_twice_it_ends_at_once() -> None:
    entered = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        entered.set()
        await asyncio.Event().wait()

    async def main() -> None:
        async with served(app) as (server, client, serving):
            running = asyncio.create_task(client.post("/v1/completions"))
            await entered.wait()
            server.handle_exit(signal.SIGTERM, None)
            assert not server.is_forced
            server.handle_exit(signal.SIGTERM, None)
            await asyncio.wait_for(serving, 20)
            assert server.is_forced
            running.cancel()

    asyncio.run(main())
