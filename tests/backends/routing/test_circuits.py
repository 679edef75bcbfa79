"""The circuit breakers of the router."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import pytest

from slarag.backends.router import RouterBackend
from slarag.backends.routing.policy import RouterPolicy
from slarag.sla.errors import (
    BackendReplyError,
    BackendTimeoutError,
    BackendUnavailableError,
)
from tests.backends.routing.support import REQUEST, Clock, run, unavailable, useless
from tests.backends.scripted import ScriptedBackend, result


def test_a_circuit_opens_is_tried_once_and_closes() -> None:
    clock = Clock()
    failures = [unavailable() for _ in range(3)]
    first = ScriptedBackend("first", *failures, result(no_answer=0.1), result(no_answer=0.1))
    second = ScriptedBackend("second", *(result(no_answer=0.2) for _ in range(9)))
    policy = RouterPolicy(retries=0, failures_to_open=2, open_s=10)
    router = RouterBackend([first, second], policy=policy, clock=clock)

    def ask() -> tuple[float, str]:
        return run(router.answer(REQUEST)).no_answer, router.circuits["first"]

    assert ask() == (0.2, "closed")
    assert ask() == (0.2, "open")
    assert ask() == (0.2, "open")
    assert len(first.requests) == 2, "an open circuit lets no call through"
    clock.now = 10
    assert router.circuits["first"] == "half_open"
    assert ask() == (0.2, "open"), "a failed trial opens it again"
    clock.now = 19
    assert ask() == (0.2, "open")
    clock.now = 20
    assert ask() == (0.1, "closed")
    assert ask() == (0.1, "closed")


def test_a_half_open_circuit_takes_one_trial_at_a_time() -> None:
    async def whole() -> None:
        clock, gate = Clock(), asyncio.Event()
        first = ScriptedBackend("first", unavailable(), gate, result(no_answer=0.1))
        second = ScriptedBackend("second", result(no_answer=0.2), result(no_answer=0.2))
        policy = RouterPolicy(retries=0, failures_to_open=1, open_s=10)
        router = RouterBackend([first, second], policy=policy, clock=clock)
        await router.answer(REQUEST)
        clock.now, first.started = 10, asyncio.Event()
        trial = asyncio.ensure_future(router.answer(REQUEST))
        await first.started.wait()
        assert (await router.answer(REQUEST)).no_answer == 0.2
        gate.set()
        assert (await trial).no_answer == 0.1

    run(whole())


def test_a_cancelled_trial_leaves_the_circuit_to_the_next() -> None:
    async def whole() -> None:
        clock = Clock()
        backend = ScriptedBackend("only", unavailable(), asyncio.Event(), result(no_answer=0.1))
        router = RouterBackend([backend], policy=RouterPolicy(retries=0, failures_to_open=1, open_s=10), clock=clock)
        with pytest.raises(BackendUnavailableError):
            await router.answer(REQUEST)
        clock.now, backend.started = 10, asyncio.Event()
        trial = asyncio.ensure_future(router.answer(REQUEST))
        await backend.started.wait()
        trial.cancel()
        await asyncio.wait({trial})
        assert trial.cancelled()
        assert (await router.answer(REQUEST)).no_answer == 0.1

    run(whole())


def test_useless_replies_and_unfair_timeouts_open_no_circuit() -> None:
    backend = ScriptedBackend("only", useless(1, 0.0), asyncio.Event(), result())
    policy = RouterPolicy(retries=0, failures_to_open=1, fair_attempt_s=5)
    router = RouterBackend([backend], policy=policy)
    with pytest.raises(BackendReplyError):
        run(router.answer(REQUEST))
    with pytest.raises(BackendTimeoutError):
        run(router.answer(replace(REQUEST, deadline=time.monotonic() + 0.02)))
    assert router.circuits == {"only": "closed"}


def test_all_circuits_open_is_unavailable() -> None:
    backends = [ScriptedBackend(name, unavailable()) for name in ("one", "two")]
    router = RouterBackend(backends, policy=RouterPolicy(retries=0, failures_to_open=1))
    for _ in range(2):
        with pytest.raises(BackendUnavailableError, match="every backend failed"):
            run(router.answer(REQUEST))
    assert [len(backend.requests) for backend in backends] == [1, 1]


def test_timeouts_of_requests_without_a_deadline_open_the_circuit() -> None:
    first = ScriptedBackend("first", *(BackendTimeoutError("silent") for _ in range(3)))
    second = ScriptedBackend("second", *(result(no_answer=0.2) for _ in range(3)))
    router = RouterBackend([first, second], policy=RouterPolicy(retries=0, failures_to_open=2))
    for _ in range(3):
        assert run(router.answer(REQUEST)).no_answer == 0.2
    assert (len(first.requests), router.circuits["first"]) == (2, "open")
