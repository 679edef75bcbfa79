"""Work that can no longer matter is called off."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from slarag.agents.race import Race, call_off, run_unless
from tests.agents.support import said


def test_the_race_settles_once_its_rule_is_met() -> None:
    async def race() -> None:
        running = Race(lambda readings: len(readings) == 2)
        assert running.settled is not None
        settled: list[bool] = []
        for replica in range(3):
            running.enter(said(replica, ("Armstrong", 0.5)))
            settled.append(running.settled.done())
        assert settled == [False, True, True]

    asyncio.run(race())


def test_work_is_cancelled_when_it_can_no_longer_matter() -> None:
    async def race() -> tuple[Any, list[str]]:
        seen: list[str] = []
        stop: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(stop.set_result, None)
        return await run_unless(stop, _waits(seen)), seen

    assert asyncio.run(race()) == (None, ["cancelled"])


def test_work_does_not_start_after_the_race() -> None:
    async def race() -> list[str]:
        seen: list[str] = []
        stop: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        stop.set_result(None)
        assert await run_unless(stop, _waits(seen)) is None
        return seen

    assert asyncio.run(race()) == []


def test_cancelling_the_caller_cancels_the_work() -> None:
    async def race() -> list[str]:
        seen: list[str] = []
        caller = asyncio.create_task(run_unless(asyncio.get_running_loop().create_future(), _waits(seen)))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        return seen

    assert asyncio.run(race()) == ["cancelled"]


def test_an_error_is_the_callers() -> None:
    async def fails() -> None:
        raise OSError("no")

    async def race() -> None:
        await run_unless(asyncio.get_running_loop().create_future(), fails())

    with pytest.raises(OSError, match="no"):
        asyncio.run(race())


def test_what_cannot_be_ended_is_left() -> None:
    async def race() -> bool:
        stubborn = asyncio.create_task(_ignores())
        await asyncio.sleep(0)
        await call_off(stubborn)
        was_running = not stubborn.done()
        await stubborn
        return was_running

    assert asyncio.run(race())


async def _waits(seen: list[str]) -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        seen.append("cancelled")
        raise


async def _ignores() -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.sleep(0.05)
