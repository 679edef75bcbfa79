"""When the router tries again, and how much time it leaves."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slarag.backends.router import RouterBackend
from slarag.backends.routing.policy import RouterPolicy
from slarag.sla.errors import (
    BackendError,
    BackendTimeoutError,
)
from tests.backends.routing.support import REQUEST, Pauses, run, unavailable
from tests.backends.scripted import ScriptedBackend, StubbornBackend, result


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


def test_a_policy_that_cannot_be_meant_is_refused() -> None:
    with pytest.raises(ValueError, match="retries=-1"):
        RouterPolicy(retries=-1)
    with pytest.raises(ValueError, match="failures_to_open=0"):
        RouterPolicy(failures_to_open=0)
