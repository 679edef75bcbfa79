"""The router: fallback, retries, circuit breaking, hedging, and what it all cost."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slarag.backends.chat import ChatBackend
from slarag.backends.conformance import BackendConformance, ConformanceSettings
from slarag.backends.protocol import AnswerRequest, BackendLoad, Price, Usage, VerifyRequest
from slarag.backends.router import RouterBackend
from slarag.backends.routing.policy import RouterPolicy
from slarag.sla.errors import (
    BackendError,
    BackendReplyError,
    BackendTimeoutError,
    BackendUnavailableError,
    ConfigurationError,
)
from slarag.sla.evidence import Passage
from tests.backends.chat_models import HonestModel, StalledModel
from tests.backends.scripted import ScriptedBackend, StubbornBackend, result

T = TypeVar("T")

PRICE = Price(usd_per_million_input_tokens=1.0)
REQUEST = AnswerRequest(question="Who?", passages=(Passage(passage_id="p", document_id="d", text="Somebody."),))
NO_RETRIES = RouterPolicy(retries=0)


class TestRouter(BackendConformance):
    settings = ConformanceSettings(priced=True)

    def make_backend(self) -> RouterBackend:
        refusing = ScriptedBackend("refusing", *(unavailable() for _ in range(100)))
        return RouterBackend([refusing, ChatBackend(HonestModel(), price=PRICE)], policy=RouterPolicy(backoff_s=0.0))

    def make_stalled_backend(self) -> RouterBackend:
        stalled = [ChatBackend(StalledModel(), name=name, price=PRICE) for name in ("one", "two")]
        return RouterBackend(stalled, policy=RouterPolicy(hedge_after_s=0.01))


def unavailable(**details: object) -> BackendUnavailableError:
    return BackendUnavailableError("refused", **details)


def useless(tokens: int, usd: float | None) -> BackendReplyError:
    return BackendReplyError("nonsense", usage=Usage(input_tokens=tokens), usd=usd)


class Pauses:
    """Stands in for `asyncio.sleep` and keeps what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(call: Coroutine[Any, Any, T]) -> T:
    """Run `call`, and require that it leaves no task behind."""

    async def whole() -> T:
        try:
            return await call
        finally:
            assert asyncio.all_tasks() == {asyncio.current_task()}

    return asyncio.run(whole())


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


def test_a_failure_that_may_pass_is_tried_again_after_a_growing_jittered_pause() -> None:
    pauses = Pauses()
    backend = ScriptedBackend("only", unavailable(), unavailable(), unavailable(retry_after_s=9.0), result())
    policy = RouterPolicy(retries=3, backoff_s=1.0, max_backoff_s=8.0)
    router = RouterBackend([backend], policy=policy, sleep=pauses, rng=random.Random(7))
    run(router.answer(REQUEST))
    first, second, asked = pauses.asked
    assert 0.5 <= first <= 1.0
    assert 1.0 <= second <= 2.0
    assert asked == 9.0


@pytest.mark.parametrize("error", [unavailable(retryable=False), BackendTimeoutError("late")])
def test_what_cannot_pass_is_not_tried_again(error: BackendError) -> None:
    backend = ScriptedBackend("only", error)
    with pytest.raises(type(error)):
        run(RouterBackend([backend], policy=RouterPolicy(retries=5)).answer(REQUEST))
    assert len(backend.requests) == 1


def test_a_retry_that_would_pass_the_deadline_is_not_started() -> None:
    pauses = Pauses()
    first = ScriptedBackend("first", unavailable(retry_after_s=100.0))
    second = ScriptedBackend("second", result(no_answer=0.2))
    router = RouterBackend([first, second], policy=RouterPolicy(retries=5), sleep=pauses)
    assert run(router.answer(replace(REQUEST, deadline=time.monotonic() + 50))).no_answer == 0.2
    assert not pauses.asked


def test_without_time_no_further_backend_is_started() -> None:
    first, second = ScriptedBackend("first", unavailable()), ScriptedBackend("second", result())
    router = RouterBackend([first, second], policy=RouterPolicy(retries=0, min_attempt_s=1000))
    with pytest.raises(BackendUnavailableError):
        run(router.answer(replace(REQUEST, deadline=time.monotonic() + 100)))
    assert not second.requests


@settings(deadline=None, max_examples=60)
@given(
    failed=st.integers(1, 6),
    left=st.one_of(st.none(), st.floats(-1, 20)),
    asked=st.one_of(st.none(), st.floats(0, 30)),
    seed=st.integers(0, 2**32),
)
def test_a_pause_always_leaves_time_for_its_attempt(
    failed: int, left: float | None, asked: float | None, seed: int
) -> None:
    policy = RouterPolicy(retries=4, min_attempt_s=0.5)
    pause = policy.pause_s(failed, unavailable(retry_after_s=asked), left, random.Random(seed))
    if pause is not None:
        assert failed <= policy.retries
        assert 0 <= pause <= max(policy.max_backoff_s, asked or 0.0)
        assert pause >= (asked or 0.0)
        assert left is None or left - pause >= policy.min_attempt_s


def test_an_attempt_has_its_own_limit_so_that_the_next_backend_has_time() -> None:
    async def whole() -> None:
        stalled, second = ScriptedBackend("stalled", asyncio.Event()), ScriptedBackend("second", result(no_answer=0.2))
        router = RouterBackend([stalled, second], policy=RouterPolicy(attempt_timeout_s=0.05))
        deadline = time.monotonic() + 60
        answered = await router.answer(replace(REQUEST, deadline=deadline))
        assert answered.no_answer == 0.2
        assert stalled.cancelled == 1
        given_up = stalled.requests[0].deadline
        assert given_up is not None
        assert given_up < deadline

    run(whole())


def test_the_deadline_holds_against_a_backend_that_ignores_it() -> None:
    async def whole() -> None:
        stubborn = StubbornBackend("stubborn")
        began = time.monotonic()
        with pytest.raises(BackendTimeoutError):
            await RouterBackend([stubborn]).answer(replace(REQUEST, deadline=began + 0.05))
        assert time.monotonic() - began < 5
        assert stubborn.cancelled >= 1
        stubborn.release.set()
        await asyncio.wait(asyncio.all_tasks() - {asyncio.current_task()}, timeout=5)

    asyncio.run(whole())


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


def hedged(*, loser_has_answered_before: bool, winner_usd: float | None = 2.0) -> tuple[float | None, int, int]:
    """usd and tokens of a hedged call, and how many calls of the loser were cancelled."""

    async def whole() -> tuple[float | None, int, int]:
        before = [result(usd=0.5, tokens=5)] if loser_has_answered_before else []
        slow = ScriptedBackend("slow", *before, asyncio.Event())
        fast = ScriptedBackend("fast", result(usd=winner_usd, tokens=20))
        if before:
            await RouterBackend([slow]).answer(REQUEST)
            slow = ScriptedBackend("slow", *before, asyncio.Event())
        router = RouterBackend([slow, fast], policy=RouterPolicy(hedge_after_s=0.01))
        if before:
            await router.answer(REQUEST)
        answered = await router.answer(REQUEST)
        return answered.usd, answered.usage.input_tokens, slow.cancelled

    return run(whole())


def test_a_hedge_wins_and_the_loser_is_cancelled_and_charged() -> None:
    assert hedged(loser_has_answered_before=True) == (2.5, 25, 1)
    assert hedged(loser_has_answered_before=False) == (4.0, 40, 1)
    assert hedged(loser_has_answered_before=False, winner_usd=None) == (None, 40, 1)


def test_a_hedge_does_not_stop_the_first() -> None:
    async def whole() -> None:
        gate = asyncio.Event()
        first = ScriptedBackend("first", gate, result(no_answer=0.1))
        second = ScriptedBackend("second", gate.set, asyncio.Event())
        router = RouterBackend([first, second], policy=RouterPolicy(hedge_after_s=0.0))
        assert (await router.answer(REQUEST)).no_answer == 0.1
        assert second.cancelled == 1

    run(whole())


def test_only_one_hedge_is_started() -> None:
    async def whole() -> None:
        gate = asyncio.Event()
        first = ScriptedBackend("first", gate, result(no_answer=0.1))
        second, third = ScriptedBackend("second", asyncio.Event()), ScriptedBackend("third", result())
        router = RouterBackend([first, second, third], policy=RouterPolicy(hedge_after_s=0.0))
        call = asyncio.ensure_future(router.answer(REQUEST))
        await second.started.wait()
        gate.set()
        assert (await call).no_answer == 0.1
        assert not third.requests

    run(whole())


def test_a_cancelled_call_cancels_all_lanes() -> None:
    async def whole() -> None:
        backends = [ScriptedBackend(name, asyncio.Event()) for name in ("one", "two")]
        router = RouterBackend(backends, policy=RouterPolicy(hedge_after_s=0.0))
        call = asyncio.ensure_future(router.answer(REQUEST))
        await backends[1].started.wait()
        call.cancel()
        await asyncio.wait({call})
        assert [backend.cancelled for backend in backends] == [1, 1]

    run(whole())


def test_failed_attempts_are_charged() -> None:
    first = ScriptedBackend("first", useless(7, 0.25), useless(7, 0.25))
    second = ScriptedBackend("second", result(usd=1.0, tokens=10))
    answered = run(RouterBackend([first, second], policy=RouterPolicy(backoff_s=0)).answer(REQUEST))
    assert (answered.usd, answered.usage.input_tokens) == (1.5, 24)


def test_one_unpriced_attempt_leaves_the_sum_unpriced() -> None:
    first, second = ScriptedBackend("first", useless(7, None)), ScriptedBackend("second", result(usd=1.0))
    answered = run(RouterBackend([first, second], policy=NO_RETRIES).answer(REQUEST))
    assert answered.usd is None
    assert answered.usage.input_tokens == 17


def test_a_failure_of_all_says_what_it_cost() -> None:
    first, second = ScriptedBackend("first", unavailable()), ScriptedBackend("second", useless(7, 0.25))
    with pytest.raises(BackendReplyError, match="refused, then nonsense") as failure:
        run(RouterBackend([first, second], policy=NO_RETRIES).answer(REQUEST))
    assert failure.value.details["usd"] == 0.25
    assert failure.value.details["usage"] == Usage(input_tokens=7)


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


def test_a_policy_that_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ValueError, match="retries=-1"):
        RouterPolicy(retries=-1)
    with pytest.raises(ValueError, match="failures_to_open=0"):
        RouterPolicy(failures_to_open=0)
