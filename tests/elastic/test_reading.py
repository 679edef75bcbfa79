"""The embedded reader on a pool: the same answers over any number of devices, through resizes and lost workers.

One pool serves all tests here; each leaves it working, with two devices.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Generator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from slarag.backends.elastic.calibration import calibrated_model
from slarag.backends.elastic.cluster.reader_options import ReaderOptions
from slarag.backends.elastic.errors import BusyError, ResizeError
from slarag.backends.elastic.http.app import build_app
from slarag.backends.elastic.serve.reading import Answered, Question, ReadingEngine
from slarag.backends.pool.conformance import check_driver
from slarag.backends.pool.driver import HttpPool
from slarag.backends.protocol import AnswerRequest, AnswerResult, VerifyRequest, VerifyResult
from slarag.backends.reader import backend
from slarag.backends.reader.backend import EmbeddedReader, ReadFunction
from slarag.sla.errors import BackendTimeoutError, ConfigurationError
from slarag.sla.evidence import Passage

TEXTS = (
    "The lighthouse of Alexandria stood on the island of Pharos. It was built of limestone and granite.",
    "The Corinth Canal was completed in 1893. It is 6.4 kilometres long and cannot take most modern ships.",
    "The sea around the harbour was calm that year. " * 60 + "The first keeper of the light was Sostratus.",
)
PASSAGES = tuple(Passage(passage_id=str(at), document_id=str(at), text=text) for at, text in enumerate(TEXTS))
QUESTIONS = ("On which island did the lighthouse stand?", "When was the canal completed?", "Who kept the light first?")
AUTH = {"Authorization": "Bearer a-secret"}


@pytest.fixture(scope="module")
def engine(runner: asyncio.Runner) -> Generator[ReadingEngine]:
    made = runner.run(ReadingEngine.start(ReaderOptions(devices=2, hang_seconds=20.0), max_waiting=8))
    yield made
    runner.run(made.aclose())


@pytest.fixture(scope="module")
def client(engine: ReadingEngine) -> httpx.AsyncClient:
    app = build_app(engine, model="reader", token="a-secret")
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://pool")


@pytest.fixture(scope="module")
def expected() -> list[AnswerResult]:
    """What the embedded reader says with plain matrices, as a pool has them: packed ones round otherwise."""

    async def read() -> list[AnswerResult]:
        reader = EmbeddedReader(threads=1)
        try:
            return [await reader.answer(AnswerRequest(question=text, passages=PASSAGES)) for text in QUESTIONS]
        finally:
            await reader.aclose()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "ReadFunction", partial(ReadFunction, packed=False))
        return asyncio.run(read())


@pytest.fixture(autouse=True)
def _forget(engine: ReadingEngine) -> None:
    """What was read in another test is read again."""
    engine.forget()


async def answer_all(engine: ReadingEngine) -> list[Answered]:
    return await asyncio.gather(*(engine.answer(Question(text=text, passages=PASSAGES)) for text in QUESTIONS))


def assert_same(found: list[Answered], expected: list[AnswerResult]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.combined.no_answer == pytest.approx(theirs.no_answer, abs=1e-2)
        assert ours.combined.answerability == pytest.approx(theirs.answerability, abs=1e-2)
        assert ours.tokens == theirs.usage.input_tokens
        assert [c.text for c in ours.combined.candidates[:1]] == [c.text for c in theirs.candidates[:1]]
        best, known = ours.combined.candidates[0], theirs.candidates[0]
        assert (best.spans, best.probability) == (known.spans, pytest.approx(known.probability, abs=1e-2))


def test_answers_are_those_of_the_embedded_reader_at_every_size_and_through_resizes(
    engine: ReadingEngine, runner: asyncio.Runner, expected: list[AnswerResult]
) -> None:
    async def use() -> None:
        assert_same(await answer_all(engine), expected)
        for size in (3, 1, 2):
            engine.forget()
            running = asyncio.create_task(answer_all(engine))
            await asyncio.sleep(0)
            status = await engine.resize(size)
            assert status.bytes_moved == status.bytes_lower_bound
            assert_same(await running, expected)
            engine.forget()
            assert_same(await answer_all(engine), expected)
            assert engine.size == size

    runner.run(use())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_worker_loses_no_request(
    engine: ReadingEngine, runner: asyncio.Runner, expected: list[AnswerResult], how: signal.Signals
) -> None:
    async def use() -> None:
        for device in list(engine.cluster.devices.values()):
            engine.forget()
            running = asyncio.create_task(answer_all(engine))
            await asyncio.sleep(0.05)
            assert device.worker is not None
            os.kill(device.worker.pid, how)
            assert_same(await running, expected)
            await asyncio.gather(*(other.serving.wait() for other in engine.cluster.devices.values()))

    runner.run(use())


def test_the_weights_lie_in_the_devices_memory(engine: ReadingEngine, runner: asyncio.Runner) -> None:
    async def use() -> None:
        usage = await asyncio.to_thread(engine.cluster.memory.client.usage)
        needed = engine.cluster.layout.shared_bytes
        assert [device["used"] >= needed for device in usage["devices"].values()] == [True, True]

    runner.run(use())


def test_what_was_read_is_not_read_again(engine: ReadingEngine, runner: asyncio.Runner) -> None:
    first, second = runner.run(answer_all(engine)), runner.run(answer_all(engine))
    assert [each.cached_tokens for each in first] == [0, 0, 0]
    assert [each.cached_tokens for each in second] == [each.tokens for each in second]
    assert [each.combined for each in second] == [each.combined for each in first]


def test_deadlines_end_requests_and_too_many_are_refused(engine: ReadingEngine, runner: asyncio.Runner) -> None:
    question = Question(text=QUESTIONS[0], passages=PASSAGES)

    async def use() -> None:
        with pytest.raises(BackendTimeoutError):
            await engine.answer(replace(question, deadline=time.monotonic() - 1))
        held = [asyncio.create_task(engine.answer(replace(question, text=f"Who {n}?"))) for n in range(12)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await engine.answer(question)
        done = await asyncio.gather(*held, return_exceptions=True)
        assert {type(each) for each in done} == {Answered, BusyError}
        assert (engine.running, engine.waiting) == (0, 0)

    runner.run(use())


def test_a_cancelled_request_leaves_nothing(engine: ReadingEngine, runner: asyncio.Runner) -> None:
    async def use() -> None:
        call = asyncio.create_task(engine.answer(Question(text=QUESTIONS[0], passages=PASSAGES)))
        await asyncio.sleep(0.01)
        call.cancel()
        await asyncio.wait({call})
        assert (engine.running, engine.waiting) == (0, 0)
        assert (await engine.answer(Question(text=QUESTIONS[1], passages=PASSAGES))).combined.candidates

    runner.run(use())


async def post(client: httpx.AsyncClient, path: str, **body: Any) -> httpx.Response:
    return await client.post(path, json=body)


def test_answers_over_http(runner: asyncio.Runner, client: httpx.AsyncClient, expected: list[AnswerResult]) -> None:
    reply = runner.run(post(client, "/v1/answers", question=QUESTIONS[0], passages=list(TEXTS), n_best=3))
    body = reply.json()
    best = body["candidates"][0]
    span = best["spans"][0]
    assert TEXTS[span["passage"]][span["start"] : span["end"]] == best["text"] == expected[0].candidates[0].text
    assert len(body["candidates"]) == 3
    assert body["no_answer"] == pytest.approx(expected[0].no_answer, abs=1e-2)
    assert len(body["passages"]) == 3
    assert sum(body["support"].values()) == pytest.approx(1.0)
    assert body["usage"]["prompt_tokens"] == expected[0].usage.input_tokens
    assert body["usage"]["device_seconds"] > 0


def test_a_claim_is_verified_as_the_reader_does(runner: asyncio.Runner, client: httpx.AsyncClient) -> None:
    async def verify() -> VerifyResult:
        reader = EmbeddedReader(threads=1)
        try:
            return await reader.verify(VerifyRequest(question=QUESTIONS[0], answer="Pharos", evidence=PASSAGES[:1]))
        finally:
            await reader.aclose()

    known = asyncio.run(verify())
    claim = f"{QUESTIONS[0]} Pharos"
    support = runner.run(post(client, "/v1/answers", question=claim, passages=[TEXTS[0]])).json()["support"]
    assert support["supported"] == pytest.approx(known.supported, abs=1e-2)
    assert support["not_enough"] == pytest.approx(known.not_enough, abs=1e-2)


@pytest.mark.parametrize("ending", ["{q}", "Question: {q}\nAnswer:"])
def test_completions_are_the_best_spans(runner: asyncio.Runner, client: httpx.AsyncClient, ending: str) -> None:
    prompt = f"{TEXTS[0]}\n\n{TEXTS[1]}\n\n{ending.format(q=QUESTIONS[0])}"
    body = runner.run(post(client, "/v1/completions", prompt=prompt, n=2, model="reader")).json()
    assert [choice["finish_reason"] for choice in body["choices"]] == ["stop", "stop"]
    assert "Pharos" in body["choices"][0]["text"]
    short = runner.run(post(client, "/v1/completions", prompt=prompt, max_tokens=1)).json()
    assert len(short["choices"][0]["text"].split()) <= 1
    streamed = runner.run(post(client, "/v1/completions", prompt=prompt, stream=True))
    assert streamed.text.endswith("data: [DONE]\n\n")
    assert body["choices"][0]["text"] in streamed.text


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/v1/answers", {"question": "a", "passages": ["b"], "top_k": 3}, "top_k"),
        ("/v1/answers", {"question": "a", "passages": ["b"], "n_best": 0}, "n_best"),
        ("/v1/answers", {"question": "a", "passages": "b"}, "passages"),
        ("/v1/answers", {"question": "a", "passages": ["b"], "compute_budget": 1.5}, "compute_budget"),
        ("/v1/answers", {"question": "a", "passages": ["b"], "model": "other"}, "model"),
        ("/v1/completions", {"prompt": "no passage here?"}, "prompt"),
        ("/v1/completions", {"prompt": "a\n\nb", "temperature": 2.5}, "temperature"),
    ],
)
def test_bad_bodies_are_refused_by_the_name_of_the_field(
    runner: asyncio.Runner, client: httpx.AsyncClient, path: str, body: dict[str, Any], field: str
) -> None:
    reply = runner.run(client.post(path, json=body))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, field)


@pytest.mark.parametrize(
    ("content", "length", "status"),
    [
        ("[" * 100_000, None, 400),
        ('{"question": "\\ud800", "passages": ["\\udfff"]}', None, 400),
        ('{"question": NaN, "passages": [Infinity]}', None, 400),
        ("{}", "99999999", 413),
        (" " * 17_000_000, None, 413),
        ("", None, 400),
    ],
)
def test_bodies_that_mean_harm_are_refused(
    runner: asyncio.Runner, client: httpx.AsyncClient, content: str, length: str | None, status: int
) -> None:
    headers = {"content-type": "application/json"} | ({"content-length": length} if length else {})
    reply = runner.run(client.post("/v1/answers", content=content.encode(), headers=headers))
    assert reply.status_code == status
    assert reply.json()["error"]["message"]


def test_a_late_answer_is_a_gateway_timeout(runner: asyncio.Runner, client: httpx.AsyncClient) -> None:
    reply = runner.run(post(client, "/v1/answers", question=QUESTIONS[0], passages=list(TEXTS) * 20, deadline_ms=0.001))
    assert (reply.status_code, reply.json()["error"]["type"]) == (504, "deadline")


def test_the_pool_tells_its_state(runner: asyncio.Runner, client: httpx.AsyncClient) -> None:
    async def use() -> None:
        for number in range(4):  # the first batch of each device is not timed
            await post(client, "/v1/answers", question=f"Which number is {number}?", passages=list(TEXTS))
        load = (await client.get("/load")).json()
        assert (load["devices"], load["running"], load["waiting"]) == (2, 0, 0)
        assert load["seconds_per_passage"] > 0
        pool = (await client.get("/pool")).json()
        assert [row["memory_bytes"] > 0 for row in pool["workers"]] == [True, True]
        (card,) = (await client.get("/v1/models")).json()["data"]
        assert (card["task"], card["reads_within_budget"]) == ("answer", True)
        assert (await client.post("/tokenize", json={"prompt": "the light"})).json()["count"] == 2
        assert "vllm:num_requests_waiting 0" in (await client.get("/metrics")).text
        assert (await client.post("/v1/chat/completions", json={})).json()["error"]["message"] == "Not Found"

    runner.run(use())


def test_a_resize_needs_the_token(engine: ReadingEngine, runner: asyncio.Runner, client: httpx.AsyncClient) -> None:
    async def use() -> None:
        for body in ('{"new_data_parallel_size": 3}', "no json"):
            assert (await client.post("/scale_elastic_ep", content=body)).status_code == 401
        assert engine.size == 2
        dry = {"new_data_parallel_size": 3, "dry_run": True}
        plan = (await client.post("/scale_elastic_ep", json=dry, headers=AUTH)).json()
        assert plan["bytes_to_move"] == plan["bytes_lower_bound"] > engine.cluster.layout.shared_bytes
        assert plan["predicted"]["capacity_factor"] == 1.5

    runner.run(use())


def test_a_folder_without_a_reader_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no reader in"):
        asyncio.run(ReadingEngine.start(ReaderOptions(model=tmp_path)))


def test_what_is_under_way_can_be_asked_for_again_and_nothing_else(
    engine: ReadingEngine, runner: asyncio.Runner
) -> None:
    async def use() -> None:
        first = asyncio.create_task(engine.resize(3, operation_id="first"))
        await asyncio.sleep(0)
        again = asyncio.create_task(engine.resize(3))
        await asyncio.sleep(0)
        with pytest.raises(ResizeError, match="is running"):
            await engine.resize(1)
        assert (await first) == (await again) == engine.resizing.history[-1]
        assert (engine.size, engine.resizing.status.operation_id) == (3, "first")
        await engine.resize(2)

    runner.run(use())


def test_what_it_takes_is_measured_and_then_it_counts_from_zero(engine: ReadingEngine, runner: asyncio.Runner) -> None:
    model = runner.run(calibrated_model(engine))
    assert model.max_batch_tokens == engine.cluster.options.max_batch_tokens
    # On a busy machine the fit may find that tokens cost nothing.
    assert 0 < float(model.step_seconds(100, 0, 1)) <= float(model.step_seconds(1000, 0, 1))
    assert model.scale_up_s > 0
    assert engine.size == 2
    assert engine.metrics.prompt_tokens == sum(engine.metrics.finished.values()) == 0


def test_the_pool_driver_conforms_on_it(engine: ReadingEngine, runner: asyncio.Runner) -> None:
    async def use() -> None:
        app = build_app(engine, model="reader", token="a-secret")
        driver = HttpPool("http://pool", devices=2, token="a-secret", transport=httpx.ASGITransport(app=app))
        await check_driver(driver, other_size=3)
        assert driver.error is None
        assert engine.size == 2
        await driver.aclose()

    runner.run(use())
