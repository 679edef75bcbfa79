"""What a careless client or an unlucky machine does to a pool that writes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from slarag.backends.elastic.errors import ElasticError
from slarag.backends.elastic.http import guard
from slarag.backends.elastic.http.app import build_app
from slarag.backends.elastic.http.guard import Guard
from slarag.backends.elastic.http.schemas import CompletionBody
from slarag.backends.elastic.serve.engine import PoolEngine

from .pools import PROMPTS, generate_all, pool, run, until, workers

HELD_UP_S = 20.0


def client_of(engine: PoolEngine) -> httpx.AsyncClient:
    app = build_app(engine, model="tiny", token="a-secret")
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://pool")


def test_a_temperature_near_zero_takes_the_likeliest_token(tiny_folder: Path) -> None:
    async def use() -> None:
        async with pool(tiny_folder, devices=1) as engine, client_of(engine) as client:
            texts = []
            for temperature in (0, 1e-38, 5e-324, 1e-6):
                body = {"prompt": PROMPTS[0], "max_tokens": 8, "temperature": temperature, "ignore_eos": True}
                reply = await client.post("/v1/completions", json=body)
                texts.append(reply.json()["choices"][0]["text"])
            assert len(set(texts)) == 1
            assert engine.cluster.replaced == 0

    run(use())


def test_the_seed_of_a_greedy_answer_counts_for_nothing() -> None:
    options = CompletionBody(prompt="a", temperature=1e-9, seed=5).options(4, None, 0)
    assert (options.sampling.temperature, options.sampling.seed) == (0.0, 0)


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_failed_is_an_error(tiny_folder: Path, stream: bool) -> None:
    async def use() -> None:
        async with pool(tiny_folder, devices=1) as engine, client_of(engine) as client:
            body = {"prompt": PROMPTS[0], "max_tokens": 500, "ignore_eos": True, "stream": stream}
            asked = asyncio.create_task(client.post("/v1/completions", json=body))
            await until(lambda: engine.running > 0)
            engine._give_up()
            reply = await asked
        if stream:
            events = [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: {")]
            assert events[-1]["error"]["code"] == "elastic"
            assert reply.text.endswith("data: [DONE]\n\n")
        else:
            assert (reply.status_code, reply.json()["error"]["code"]) == (503, "elastic")

    run(use())


def test_a_zygote_that_could_not_be_replaced_is_replaced_later(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from slarag.backends.elastic.cluster.zygote import ZygoteProcess
    from slarag.backends.elastic.errors import WorkerGoneError

    failures = 0

    async def fail(_: int) -> Any:
        nonlocal failures
        failures += 1
        raise WorkerGoneError("it did not start")

    async def use() -> None:
        async with pool(tiny_folder, devices=1, standbys=0) as engine:
            expected = await generate_all(engine)
            with monkeypatch.context() as patched:
                patched.setattr(ZygoteProcess, "start", fail)
                os.kill(engine.cluster.processes.zygote_pid, signal.SIGKILL)
                await until(lambda: failures > 1)
            await until(lambda: engine.cluster.processes.can_fork)
            os.kill(workers(engine)[0], signal.SIGKILL)
            assert await generate_all(engine) == expected
            assert engine.cluster.replaced == 1

    run(use())


def test_a_pool_without_its_memory_manager_says_so_and_leaves_nobody_waiting(tiny_folder: Path) -> None:
    async def use() -> None:
        async with pool(tiny_folder, devices=1, standbys=0) as engine, client_of(engine) as client:
            body = {"prompt": PROMPTS[0], "max_tokens": 700, "ignore_eos": True}
            running = asyncio.create_task(client.post("/v1/completions", json=body))
            await until(lambda: engine.running > 0)
            engine.cluster.memory.process.kill()
            await until(lambda: engine.cluster.is_broken)
            assert (await client.get("/health")).status_code == 503
            refused = await client.post("/v1/completions", json=body)
            assert (refused.status_code, "start the pool again" in refused.text) == (503, True)
            for worker in workers(engine):
                os.kill(worker, signal.SIGKILL)
            assert (await running).status_code == 503
            with pytest.raises(ElasticError, match="memory manager"):
                engine.cluster.require_whole()

    run(use())


def test_half_a_character_is_refused(tiny_folder: Path) -> None:
    message = r'{"messages": [{"role": "user", "content": "\ud83d"}]}'
    parts = r'{"messages": [{"role": "user", "content": [{"type": "text", "text": "\ud83d"}]}]}'
    bodies = [
        ("/v1/completions", r'{"prompt": "\ud83d"}'),
        ("/v1/completions", r'{"prompt": ["a", "\ud83d"]}'),
        ("/v1/chat/completions", message),
        ("/v1/chat/completions", parts),
        ("/tokenize", r'{"prompt": "\ud83d"}'),
    ]

    async def use() -> None:
        async with pool(tiny_folder, devices=1, standbys=0) as engine, client_of(engine) as client:
            for path, body in bodies:
                reply = await client.post(path, content=body, headers={"content-type": "application/json"})
                assert (reply.status_code, reply.json()["error"]["type"]) == (400, "invalid_request_error")

    run(use())


def test_the_longest_prompt_that_is_told_is_the_longest_that_is_taken(tiny_folder: Path) -> None:
    async def use() -> None:
        async with (
            pool(tiny_folder, devices=1, standbys=0, kv_blocks=16, block_tokens=4) as engine,
            client_of(engine) as client,
        ):
            most = (await client.get("/v1/models")).json()["data"][0]["max_model_len"]
            assert (await client.post("/tokenize", json={"prompt": "a"})).json()["max_model_len"] == most == 64
            for length, status in ((most - 1, 200), (most, 400)):
                reply = await client.post("/v1/completions", json={"prompt": [7] * length, "max_tokens": 1})
                assert reply.status_code == status

    run(use())


async def whole_body(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await PlainTextResponse("read")(scope, receive, send)


@pytest.mark.parametrize(("pieces", "status"), [(1, 200), (20, 413), (0, 408)])
def test_a_body_that_is_too_long_or_never_comes_is_refused(
    pieces: int, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guard, "MAX_BODY_PAUSE_S", 0.01 if not pieces else HELD_UP_S)
    sent: list[Any] = []

    async def receive() -> Any:
        if not pieces:
            await asyncio.sleep(HELD_UP_S)
        sent.append(None)
        return {"type": "http.request", "body": b"a" * 1_000_000, "more_body": len(sent) < pieces}

    async def use() -> int:
        started: list[int] = []

        async def send(message: Any) -> None:
            started.append(message.get("status", 0))

        scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": []}
        await Guard(whole_body, None)(scope, receive, send)
        return started[0]

    assert asyncio.run(use()) == status
