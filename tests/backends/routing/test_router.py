"""The router as a backend: who answers, and what it says about itself."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from slarag.backends.chat import ChatBackend
from slarag.backends.conformance import BackendConformance, ConformanceSettings
from slarag.backends.protocol import BackendLoad, VerifyRequest
from slarag.backends.router import RouterBackend
from slarag.backends.routing.policy import RouterPolicy
from slarag.sla.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    ConfigurationError,
)
from tests.backends.chat_models import HonestModel, StalledModel
from tests.backends.routing.support import NO_RETRIES, PRICE, REQUEST, run, unavailable, useless
from tests.backends.scripted import ScriptedBackend, result


class TestRouter(BackendConformance):
    settings = ConformanceSettings(priced=True)

    def make_backend(self) -> RouterBackend:
        refusing = ScriptedBackend("refusing", *(unavailable() for _ in range(100)))
        return RouterBackend([refusing, ChatBackend(HonestModel(), price=PRICE)], policy=RouterPolicy(backoff_s=0.0))

    def make_stalled_backend(self) -> RouterBackend:
        stalled = [ChatBackend(StalledModel(), name=name, price=PRICE) for name in ("one", "two")]
        return RouterBackend(stalled, policy=RouterPolicy(hedge_after_s=0.01))


@pytest.mark.parametrize("error", [unavailable(), BackendTimeoutError("late"), useless(0, 0.0)])
def test_another_backend_takes_over(error: BackendError) -> None:
    first, second = ScriptedBackend("first", error), ScriptedBackend("second", result(no_answer=0.2))
    router = RouterBackend([first, second], policy=NO_RETRIES)
    assert run(router.answer(REQUEST)).no_answer == 0.2
    assert (len(first.requests), len(second.requests)) == (1, 1)


def test_the_first_backend_is_enough() -> None:
    first, second = ScriptedBackend("first", result()), ScriptedBackend("second")
    run(RouterBackend([first, second]).answer(REQUEST))
    assert not second.requests


def test_without_time_no_further_backend_is_started() -> None:
    first, second = ScriptedBackend("first", unavailable()), ScriptedBackend("second", result())
    router = RouterBackend([first, second], policy=RouterPolicy(retries=0, min_attempt_s=1000))
    with pytest.raises(BackendUnavailableError):
        run(router.answer(replace(REQUEST, deadline=time.monotonic() + 100)))
    assert not second.requests


def test_a_bug_in_a_backend_is_not_hidden() -> None:
    first, second = ScriptedBackend("first", KeyError("bug")), ScriptedBackend("second", result())
    with pytest.raises(KeyError):
        run(RouterBackend([first, second]).answer(REQUEST))


def test_each_task_goes_to_those_who_can() -> None:
    answering, judging = ScriptedBackend("answering", result()), ChatBackend(HonestModel())
    router = RouterBackend([answering, judging])
    assert router.capabilities == {"answer", "verify", "generate"}
    claim = VerifyRequest(question="", answer="Somebody.", evidence=REQUEST.passages)
    assert run(router.verify(claim)).supported == pytest.approx(0.9)
    with pytest.raises(BackendUnavailableError, match="can verify"):
        run(RouterBackend([answering]).verify(claim))


def test_the_load_is_that_of_the_first_backend_that_can_say() -> None:
    first, second = ScriptedBackend("first", unavailable()), ScriptedBackend("second", result())
    router = RouterBackend([first, second], policy=RouterPolicy(retries=0, failures_to_open=1))
    first.load_now, second.load_now = BackendLoad(waiting=1), BackendLoad(waiting=2)
    assert run(router.load()).waiting == 1
    first.load_now = unavailable()
    assert run(router.load()).waiting == 2
    first.load_now = BackendLoad(waiting=1)
    run(router.answer(REQUEST))
    assert run(router.load()).waiting == 2, "the first one's circuit is open"


def test_closing_closes_all() -> None:
    backends = [ScriptedBackend(name) for name in ("one", "two")]
    run(RouterBackend(backends).aclose())
    assert [backend.closed for backend in backends] == [1, 1]


@pytest.mark.parametrize("names", [[], ["same", "same"]])
def test_backends_need_names_of_their_own(names: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="different names"):
        RouterBackend([ScriptedBackend(name) for name in names])
