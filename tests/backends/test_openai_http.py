"""OpenAI-compatible servers as a backend, against a real server on loopback."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

import pytest

from slarag.backends.conformance import BackendConformance, ConformanceSettings
from slarag.backends.openai_http import OpenAIBackend
from slarag.backends.protocol import AnswerRequest, AnswerResult, BackendLoad, GenerateRequest, Price
from slarag.backends.wire.chat_completions import ChatSettings
from slarag.sla.errors import (
    BackendError,
    BackendReplyError,
    BackendTimeoutError,
    BackendUnavailableError,
    ConfigurationError,
)
from slarag.sla.evidence import Passage
from tests.backends.model_server import Mode, ModelServer, serving

T = TypeVar("T")

PRICE = Price(usd_per_million_input_tokens=1.0, usd_per_million_output_tokens=2.0)
PASSAGE = Passage(passage_id="p", document_id="d", text="The old bridge was opened in 1932.")
STREAMED = ChatSettings(stream=True)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    with serving() as running:
        yield running


class _OverHttp(BackendConformance):
    settings = ConformanceSettings(priced=True)
    chat_settings = ChatSettings()

    @pytest.fixture(autouse=True)
    def _serve(self) -> Iterator[None]:
        with serving() as self._honest, serving() as self._stalled:
            self._stalled.mode = "stall"
            yield

    def make_backend(self) -> OpenAIBackend:
        return OpenAIBackend(self._honest.url, "honest", price=PRICE, settings=self.chat_settings)

    def make_stalled_backend(self) -> OpenAIBackend:
        return OpenAIBackend(self._stalled.url, "honest", price=PRICE, settings=self.chat_settings)


class TestWholeReplies(_OverHttp):
    pass


class TestStreamedReplies(_OverHttp):
    chat_settings = STREAMED


def request(deadline: float | None = None) -> AnswerRequest:
    return AnswerRequest(question="When was the bridge opened?", passages=(PASSAGE,), deadline=deadline)


def run(backend: OpenAIBackend, call: Coroutine[Any, Any, T]) -> T:
    """Run, close, and require that nothing is left behind."""

    async def whole() -> T:
        try:
            return await call
        finally:
            await backend.aclose()
            assert asyncio.all_tasks() == {asyncio.current_task()}

    return asyncio.run(whole())


def ask(server: ModelServer, settings: ChatSettings | None = None, **options: Any) -> AnswerResult:
    backend = OpenAIBackend(server.url, "honest", settings=settings, **options)
    return run(backend, backend.answer(request()))


@pytest.mark.parametrize("settings", [ChatSettings(), STREAMED])
@pytest.mark.parametrize("mode", ["stall", "hang_mid_body", "endless_body", "endless_stream"])
def test_no_reply_outlives_the_deadline(server: ModelServer, mode: Mode, settings: ChatSettings) -> None:
    if settings.stream == (mode == "endless_body"):
        mode = "endless_stream" if settings.stream else "endless_body"
    server.mode = mode
    backend = OpenAIBackend(server.url, "honest", settings=settings)
    began = time.monotonic()
    with pytest.raises(BackendTimeoutError):
        run(backend, backend.answer(request(began + 0.2)))
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("mode", "settings", "expected"),
    [
        ("malformed", ChatSettings(), BackendReplyError),
        ("wrong_shape", ChatSettings(), BackendReplyError),
        ("null_content", ChatSettings(), BackendReplyError),
        ("huge", ChatSettings(), BackendReplyError),
        ("malformed", STREAMED, BackendReplyError),
        ("cut_stream", STREAMED, BackendReplyError),
        ("error_event", STREAMED, BackendReplyError),
        ("rate_limited", ChatSettings(), BackendUnavailableError),
        ("overloaded", STREAMED, BackendUnavailableError),
        ("unauthorised", ChatSettings(), BackendUnavailableError),
        ("redirect", ChatSettings(), BackendUnavailableError),
    ],
)
def test_bad_replies_become_the_backends_errors(
    server: ModelServer, mode: Mode, settings: ChatSettings, expected: type[BackendError]
) -> None:
    server.mode = mode
    with pytest.raises(expected) as failure:
        ask(server, settings)
    assert "sk-secret" not in str(failure.value)
    assert len(server.requests) == 1, "a backend does not retry"


@pytest.mark.parametrize(("mode", "retryable"), [("rate_limited", True), ("overloaded", True), ("unauthorised", False)])
def test_a_refusal_says_whether_it_may_pass(server: ModelServer, mode: Mode, retryable: bool) -> None:
    server.mode = mode
    with pytest.raises(BackendUnavailableError) as failure:
        ask(server)
    assert failure.value.details["retryable"] is retryable
    assert failure.value.details["retry_after_s"] == 7.0


def test_a_server_that_is_not_there_is_unavailable(server: ModelServer) -> None:
    url = server.url
    server.shutdown()
    server.server_close()
    backend = OpenAIBackend(url, "honest")
    with pytest.raises(BackendUnavailableError, match="check that the server runs"):
        run(backend, backend.answer(request()))


@pytest.mark.parametrize("settings", [ChatSettings(), STREAMED])
def test_usage_and_price_are_the_servers(server: ModelServer, settings: ChatSettings) -> None:
    result = ask(server, settings, price=PRICE)
    assert (result.usage.input_tokens, result.usage.output_tokens) == (100, 20)
    assert result.usd == pytest.approx(140e-6)
    assert result.candidates[0].text == "1932"


def test_without_reported_usage_the_texts_are_charged(server: ModelServer) -> None:
    server.mode = "no_usage"
    assert ask(server, price=PRICE).usage.input_tokens > 100


def test_device_time_is_the_servers_or_the_calls(server: ModelServer) -> None:
    rented = Price(usd_per_device_second=1.0)
    assert ask(server, price=rented).usage.device_seconds > 0
    server.device_seconds = 0.5
    assert ask(server, price=rented).usd == pytest.approx(0.5)


def test_settings_reach_the_server(server: ModelServer) -> None:
    ask(server, ChatSettings(temperature=0.5, max_answer_tokens=99, json_schema=True))
    body, _ = server.requests[0]
    assert (body["model"], body["temperature"], body["max_tokens"], body["stream"]) == ("honest", 0.5, 99, False)
    assert body["response_format"]["json_schema"]["schema"]["additionalProperties"] is False
    ask(server, ChatSettings(temperature=None, stream=True, max_tokens_field="max_completion_tokens"))
    body, _ = server.requests[1]
    assert body["max_completion_tokens"] == 1024
    assert "max_tokens" not in body
    assert "temperature" not in body
    assert "response_format" not in body
    assert body["stream"] is True


def test_generate_sends_its_own_limit(server: ModelServer) -> None:
    backend = OpenAIBackend(server.url, "honest")
    result = run(backend, backend.generate(GenerateRequest(prompt="An island?", max_tokens=7)))
    assert result.text == "Pharos is an island."
    assert server.requests[0][0]["max_tokens"] == 7


def test_connect_finds_the_model(server: ModelServer) -> None:
    backend = OpenAIBackend(server.url, "honest", settings=ChatSettings(json_schema=True))
    assert run(backend, backend.connect()) is backend


def test_connect_names_the_nearest_model(server: ModelServer) -> None:
    backend = OpenAIBackend(server.url, "honest-larg")
    with pytest.raises(ConfigurationError, match="use honest-large"):
        run(backend, backend.connect())


def test_connect_finds_a_server_that_ignores_schemas(server: ModelServer) -> None:
    server.heeds_schema = False
    backend = OpenAIBackend(server.url, "honest", settings=ChatSettings(json_schema=True))
    with pytest.raises(ConfigurationError, match="ignores response_format"):
        run(backend, backend.connect())


def test_connect_does_not_wait_for_ever(server: ModelServer) -> None:
    server.mode = "stall"
    backend = OpenAIBackend(server.url, "honest", settings=ChatSettings(json_schema=True))
    with pytest.raises(BackendTimeoutError):
        run(backend, backend.connect(timeout_s=0.2))


def test_the_load_is_vllms_queue_or_zeros(server: ModelServer) -> None:
    def load() -> BackendLoad:
        backend = OpenAIBackend(server.url, "honest", settings=ChatSettings(metrics_timeout_s=30))
        return run(backend, backend.load())

    assert load() == BackendLoad(waiting=7, running=4)
    server.metrics = None
    assert load() == BackendLoad()


def test_the_key_is_sent_and_shown_nowhere(
    server: ModelServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("HONEST_KEY", "sk-secret\n")
    backend = OpenAIBackend(server.url, "honest", api_key_env="HONEST_KEY")
    server.mode = "unauthorised"
    with caplog.at_level(logging.DEBUG), pytest.raises(BackendUnavailableError) as failure:
        run(backend, backend.answer(request()))
    assert server.requests[0][1]["authorization"] == "Bearer sk-secret"
    shown = f"{backend!r} {vars(backend)!r} {failure.value!r} {failure.value.details!r} {caplog.text}"
    assert "sk-secret" not in shown


def test_a_missing_key_is_named(server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HONEST_KEY", raising=False)
    with pytest.raises(ConfigurationError, match="HONEST_KEY"):
        ask(server, api_key_env="HONEST_KEY")
    monkeypatch.setenv("HONEST_KEY", "sk-sécret")
    with pytest.raises(ConfigurationError, match="HONEST_KEY") as failure:
        ask(server, api_key_env="HONEST_KEY")
    assert "cret" not in str(failure.value)
    assert not server.requests


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://host/v1",
        "http://",
        "http://me:pw@host/v1",
        "http://h/v1?k=1",
        "http://h:port",
        "http://[::1",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError) as failure:
        OpenAIBackend(url, "honest")
    assert "pw" not in str(failure.value)


def test_one_backend_serves_several_event_loops(server: ModelServer) -> None:
    backend = OpenAIBackend(server.url, "honest")
    for _ in range(2):
        assert run(backend, backend.answer(request())).candidates[0].text == "1932"


def test_lone_surrogates_are_sent_as_question_marks(server: ModelServer) -> None:
    passage = Passage(passage_id="p", document_id="d", text="The old bridge \ud800 was opened in 1932.")
    backend = OpenAIBackend(server.url, "honest")
    question = AnswerRequest(question="When was the bridge opened?", passages=(passage,))
    with pytest.raises(BackendReplyError):  # the honest quote differs from the passage by that character
        run(backend, backend.answer(question))
    assert "bridge ? was" in server.requests[0][0]["messages"][1]["content"]
