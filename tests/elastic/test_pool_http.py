"""The pool over HTTP: answers, refusals and control, on real processes.

One pool serves all tests here; each leaves it working, with two devices.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from slarag.backends.elastic.http.app import build_app
from slarag.backends.elastic.serve.engine import PoolEngine
from slarag.backends.elastic.serve.sequence import GenerationOptions
from slarag.backends.pool.conformance import check_driver
from slarag.backends.pool.driver import HttpPool

from .serving import PROMPTS, expected_answers, generate_all, started

TOKEN = "a-secret"
AUTH = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture(scope="module")
def engine(tiny_folder: Path, runner: asyncio.Runner) -> Generator[PoolEngine]:
    made = runner.run(started(tiny_folder))
    yield made
    runner.run(made.aclose())


@pytest.fixture(scope="module")
def expected(tiny_folder: Path) -> list[list[int]]:
    return expected_answers(tiny_folder)


@pytest.fixture(scope="module")
def client(engine: PoolEngine) -> httpx.AsyncClient:
    app = build_app(engine, model="tiny", token=TOKEN)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://pool")


def test_a_rolled_back_resize_says_so_and_serving_goes_on(
    engine: PoolEngine, runner: asyncio.Runner, client: httpx.AsyncClient, expected: list[list[int]]
) -> None:
    from slarag.backends.elastic.errors import ResizeError

    def fail(name: str) -> None:
        if name == "attach":
            raise OSError("injected")

    async def use() -> None:
        with pytest.raises(ResizeError, match="injected"):
            await engine.resize(3, at_step=fail)
        status = (await client.post("/is_scaling_elastic_ep", headers=AUTH)).json()
        assert (status["phase"], status["size"], status["is_scaling_elastic_ep"]) == ("failed", 2, False)
        assert "injected" in status["error"]
        assert await generate_all(engine) == expected

    runner.run(use())


def test_control_needs_the_token_and_refuses_what_cannot_be(
    engine: PoolEngine, runner: asyncio.Runner, client: httpx.AsyncClient
) -> None:
    async def use() -> None:
        epoch = engine.cluster.placement.epoch
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": TOKEN}):
            for path in ("/scale_elastic_ep", "/is_scaling_elastic_ep"):
                reply = await client.post(path, json={"new_data_parallel_size": 3}, headers=headers)
                assert reply.status_code == 401
        for body in ({"new_data_parallel_size": 0}, {"new_data_parallel_size": 9}, {}, {"new_data_parallel_size": "3"}):
            assert (await client.post("/scale_elastic_ep", json=body, headers=AUTH)).status_code == 400
        lower = {"Authorization": f"bearer {TOKEN}"}
        assert (await client.post("/is_scaling_elastic_ep", headers=lower)).status_code == 200
        dry = {"new_data_parallel_size": 3, "dry_run": True}
        plan = (await client.post("/scale_elastic_ep", json=dry, headers=AUTH)).json()
        assert (plan["joining"], plan["leaving"]) == (1, 0)
        assert plan["bytes_to_move"] == plan["bytes_lower_bound"] > 0
        assert plan["predicted"]["capacity_factor"] == 1.5
        assert engine.cluster.placement.epoch == epoch

    runner.run(use())


def test_scaling_over_http_is_an_absolute_target(
    engine: PoolEngine, runner: asyncio.Runner, client: httpx.AsyncClient
) -> None:
    async def use() -> None:
        for number, size in enumerate((3, 3, 2)):
            body = {"new_data_parallel_size": size, "drain_timeout": 60, "operation_id": f"mine-{number}"}
            reply = await client.post("/scale_elastic_ep", json=body, headers=AUTH)
            assert reply.json() == {"message": f"Scaled to {size} data parallel engines"}
            status = (await client.post("/is_scaling_elastic_ep", headers=AUTH)).json()
            assert (status["phase"], status["size"], status["operation_id"]) == ("completed", size, f"mine-{number}")
        again = {"new_data_parallel_size": 3, "operation_id": "mine-0"}
        assert (await client.post("/scale_elastic_ep", json=again, headers=AUTH)).status_code == 200
        assert engine.size == 2
        other = {**again, "new_data_parallel_size": 1}
        assert (await client.post("/scale_elastic_ep", json=other, headers=AUTH)).status_code == 409

    runner.run(use())


def test_a_resize_past_its_time_is_said_so_and_goes_on(
    engine: PoolEngine, runner: asyncio.Runner, client: httpx.AsyncClient
) -> None:
    async def use() -> None:
        body = {"new_data_parallel_size": 3, "drain_timeout": 1e-6}
        reply = await client.post("/scale_elastic_ep", json=body, headers=AUTH)
        assert (reply.status_code, reply.json()["error"]["param"]) == (408, "drain_timeout")
        await engine.resizing.settled()
        assert (engine.size, engine.resize_status.phase) == (3, "completed")
        await engine.resize(2)

    runner.run(use())


def test_completions_whole_and_streamed_say_the_same(
    runner: asyncio.Runner, client: httpx.AsyncClient, expected: list[list[int]]
) -> None:
    async def use() -> None:
        body: dict[str, Any] = {"prompt": PROMPTS[0], "max_tokens": 8, "temperature": 0, "logprobs": 2, "model": "tiny"}
        whole = (await client.post("/v1/completions", json=body)).json()
        [choice] = whole["choices"]
        assert choice["finish_reason"] == "length"
        assert len(choice["logprobs"]["tokens"]) == len(choice["logprobs"]["text_offset"]) == 8
        assert whole["usage"]["prompt_tokens"] == 7
        assert whole["usage"]["completion_tokens"] == 8
        options = {"stream": True, "stream_options": {"include_usage": True}}
        reply = await client.post("/v1/completions", json=body | options)
        events = [line.removeprefix("data: ") for line in reply.text.splitlines() if line]
        assert events[-1] == "[DONE]"
        chunks = [json.loads(event) for event in events[:-1]]
        assert chunks[-1]["usage"]["total_tokens"] == whole["usage"]["total_tokens"] == 15
        assert "".join(chunk["choices"][0]["text"] for chunk in chunks[:-1]) == choice["text"]

    runner.run(use())


def test_a_seed_repeats_an_answer_and_n_gives_different_ones(runner: asyncio.Runner, client: httpx.AsyncClient) -> None:
    async def use() -> None:
        body = {"prompt": "grow", "max_tokens": 12, "seed": 5, "n": 3, "top_p": 0.95, "top_k": 50}
        first, second = [(await client.post("/v1/completions", json=body)).json() for _ in range(2)]
        texts = [choice["text"] for choice in first["choices"]]
        assert texts == [choice["text"] for choice in second["choices"]]
        assert len(set(texts)) == 3
        assert first["usage"]["prompt_tokens"] == 4

    runner.run(use())


def test_stop_texts_chats_and_deadlines(engine: PoolEngine, runner: asyncio.Runner, client: httpx.AsyncClient) -> None:
    async def use() -> None:
        body: dict[str, Any] = {"prompt": PROMPTS[1], "max_tokens": 8, "temperature": 0}
        text = (await client.post("/v1/completions", json=body)).json()["choices"][0]["text"]
        stop = next(character for character in text if character.isalnum())
        stopped = (await client.post("/v1/completions", json={**body, "stop": stop})).json()["choices"][0]
        assert stopped["text"] == text[: text.find(stop)]
        assert stopped["finish_reason"] == "stop"
        chat = {
            "messages": [{"role": "user", "content": "hello"}],
            "max_tokens": 4,
            "logprobs": True,
            "top_logprobs": 1,
        }
        parts: Any = {**chat, "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}], "n": None}
        whole, in_parts = [(await client.post("/v1/chat/completions", json=each)).json() for each in (chat, parts)]
        assert whole["usage"]["prompt_tokens"] == in_parts["usage"]["prompt_tokens"]
        streamed = await client.post("/v1/chat/completions", json={**chat, "stream": True, "ignore_eos": True})
        lines = [line for line in streamed.text.splitlines() if line]
        first, second = [json.loads(line.removeprefix("data: "))["choices"][0] for line in lines[:2]]
        assert (first["delta"]["role"], "role" in second["delta"]) == ("assistant", False)
        [choice] = (await client.post("/v1/chat/completions", json=chat)).json()["choices"]
        assert choice["message"]["role"] == "assistant"
        assert len(choice["logprobs"]["content"]) == 4
        late = {**body, "max_tokens": 400, "deadline_ms": 1}
        [choice] = (await client.post("/v1/completions", json=late)).json()["choices"]
        assert choice["finish_reason"] == "deadline"

    runner.run(use())


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/completions", {"prompt": "a", "best_of": 3}, "best_of"),
        ("/v1/completions", {"prompt": "a", "presence_penalty": 0.5}, "presence_penalty"),
        ("/v1/completions", {"prompt": "a", "mirostat": None}, "mirostat"),
        ("/v1/completions", {"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ("/v1/completions", {"prompt": "a", "max_tokens": 100_000}, "max_tokens"),
        ("/v1/completions", {"prompt": [320]}, "prompt"),
        ("/v1/completions", {"prompt": []}, "prompt"),
        ("/v1/completions", {"prompt": "a", "model": "other"}, "model"),
        ("/v1/chat/completions", {"messages": []}, "messages"),
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "tools": []}, "tools"),
        ("/tokenize", {"prompt": "a", "text": "b"}, "text"),
    ],
)
def test_bad_bodies_are_refused_by_the_name_of_the_field(
    runner: asyncio.Runner, client: httpx.AsyncClient, path: str, body: dict[str, Any], field: str
) -> None:
    reply = runner.run(client.post(path, json=body))
    assert reply.status_code == 400
    assert reply.json()["error"]["param"] == field


def test_too_many_waiting_are_refused_with_when_to_come_back(
    engine: PoolEngine, runner: asyncio.Runner, client: httpx.AsyncClient
) -> None:
    async def use() -> None:
        # As many as two batches hold do not wait for others; 16 more may wait.
        held = [engine.submit([1], GenerationOptions(max_tokens=4)) for _ in range(2 * 64 + 16)]
        for stream in (False, True):
            reply = await client.post("/v1/completions", json={"prompt": "a", "stream": stream})
            assert reply.status_code == 429
            assert 1 <= int(reply.headers["retry-after"]) <= 60
        for sequence in held:
            async for _ in engine.outputs_of(sequence):
                pass

    runner.run(use())


def test_an_idle_pool_takes_what_its_batches_hold_however_few_may_wait(
    engine: PoolEngine, runner: asyncio.Runner, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "max_waiting", 2)

    async def use() -> None:
        body = {"prompt": "a", "max_tokens": 2, "ignore_eos": True}
        replies = await asyncio.gather(*(client.post("/v1/completions", json={**body, "n": 4}) for _ in range(6)))
        assert {reply.status_code for reply in replies} == {200}

    runner.run(use())


def test_a_request_is_taken_whole_or_leaves_no_trace(
    engine: PoolEngine, runner: asyncio.Runner, client: httpx.AsyncClient
) -> None:
    async def use() -> None:
        finished, tokens = sum(engine.metrics.finished.values()), engine.metrics.prompt_tokens
        for prompts in ([[1]] * 150, [[1], [2], [9999]]):
            reply = await client.post("/v1/completions", json={"prompt": prompts, "max_tokens": 2})
            assert reply.status_code == 400
        held = [engine.submit([1], GenerationOptions(max_tokens=4)) for _ in range(140)]
        assert (await client.post("/v1/completions", json={"prompt": "a", "n": 8})).status_code == 429
        for sequence in held:
            async for _ in engine.outputs_of(sequence):
                pass
        assert sum(engine.metrics.finished.values()) == finished + 140
        assert engine.metrics.prompt_tokens == tokens + 140

    runner.run(use())


def test_state_is_there_to_read(runner: asyncio.Runner, client: httpx.AsyncClient) -> None:
    async def use() -> None:
        assert (await client.get("/health")).status_code == 200
        load = (await client.get("/load")).json()
        assert (load["model"], load["devices"], load["running"], load["waiting"]) == ("tiny", 2, 0, 0)
        metrics = (await client.get("/metrics")).text
        assert "vllm:num_requests_running 0" in metrics
        assert 'vllm:time_to_first_token_seconds_bucket{le="+Inf"}' in metrics
        assert 'slarag:routed_tokens_total{layer="0",expert="0"}' in metrics
        pool = (await client.get("/pool")).json()
        assert [row["experts"] for row in pool["workers"]] == [12, 12]
        assert all(0 < row["memory_bytes"] <= row["capacity_bytes"] for row in pool["workers"])
        assert pool["resizes"][-1]["phase"] == "completed"
        models = (await client.get("/v1/models")).json()
        assert models["data"][0]["id"] == "tiny"
        tokens = (await client.post("/tokenize", json={"prompt": "abc"})).json()
        assert tokens["count"] == len(tokens["tokens"]) == 2

    runner.run(use())


def test_the_pool_driver_conforms_on_it(engine: PoolEngine, runner: asyncio.Runner) -> None:
    async def use() -> None:
        app = build_app(engine, model="tiny", token=TOKEN)
        driver = HttpPool("http://pool", devices=2, token=TOKEN, transport=httpx.ASGITransport(app=app))
        await check_driver(driver, other_size=3)
        assert driver.error is None
        assert engine.size == 2
        await driver.aclose()

    runner.run(use())
