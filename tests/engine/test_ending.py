"""An engine that is closed while it answers."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from slarag.backends.protocol import AnswerRequest, AnswerResult
from slarag.sla.errors import ConfigurationError
from tests.engine.support import QUESTION, engine
from tests.fakes import ScriptedBackend, stall

WORDS = "the engine was closed before the answer was found"


def test_what_runs_on_the_callers_loop_ends_with_the_engine() -> None:
    model = ScriptedBackend(stall, stall)

    async def use() -> None:
        asked = engine(model)
        running = [asyncio.create_task(asked.aask(QUESTION)) for _ in range(2)]
        while len(model.answered) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await asked.aclose()
        assert model.cancelled == 2
        for task in running:
            with pytest.raises(ConfigurationError, match=WORDS):
                await task

    asyncio.run(use())


def test_what_runs_in_another_thread_ends_with_the_engine() -> None:
    entered = threading.Event()

    async def hang(request: AnswerRequest) -> AnswerResult:
        entered.set()
        return await stall(request)

    model = ScriptedBackend(hang)
    with ThreadPoolExecutor(1) as threads, engine(model) as asked:
        running = threads.submit(asked.ask, QUESTION)
        assert entered.wait(10)
        asked.close()
        with pytest.raises(ConfigurationError, match=WORDS):
            running.result(10)
    assert model.cancelled == 1


def test_closed_within_the_loop_that_it_answers_on_it_waits_for_nothing() -> None:
    model = ScriptedBackend(stall)

    async def use() -> None:
        asked = engine(model)
        running = asyncio.create_task(asked.aask(QUESTION))
        while not model.answered:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        asked.close()
        with pytest.raises(ConfigurationError, match=WORDS):
            await running

    asyncio.run(use())


def test_a_caller_that_gives_up_is_cancelled_and_nothing_else() -> None:
    model = ScriptedBackend(stall)

    async def use() -> None:
        async with engine(model) as asked:
            running = asyncio.create_task(asked.aask(QUESTION))
            while not model.answered:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running
            assert (await asked.aask(QUESTION)).text

    asyncio.run(use())
