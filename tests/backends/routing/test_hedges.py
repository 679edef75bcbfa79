"""Hedged calls of the router."""

from __future__ import annotations

import asyncio

from slarag.backends.router import RouterBackend
from slarag.backends.routing.policy import RouterPolicy
from tests.backends.routing.support import REQUEST, run
from tests.backends.scripted import ScriptedBackend, result


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
