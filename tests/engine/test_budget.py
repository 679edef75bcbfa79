"""Deadlines and money are hard limits."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from dataclasses import replace
from typing import Any

import pytest
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models import FakeListChatModel
from langchain_core.retrievers import BaseRetriever
from pydantic import PrivateAttr
from rich.console import Console, RenderableType

from slarag.backends.chat import ChatBackend
from slarag.backends.protocol import Price, Usage
from slarag.backends.reader.backend import EmbeddedReader
from slarag.backends.router import RouterBackend
from slarag.cli.answer_view import answer_view
from slarag.retrievers.foreign import ForeignRetriever
from slarag.sla.answer import Answer
from slarag.sla.errors import BackendReplyError, BackendTimeoutError, UnpricedCallError
from slarag.sla.plan import Plan
from tests.engine.support import PASSAGES, QUESTION, engine, profile
from tests.fakes import (
    HELD_S,
    PassageList,
    ScriptedBackend,
    block_a_thread,
    ignore_cancellation,
    quote,
    reading,
    stall,
    stream_forever,
)

RIGHT = reading(quote(PASSAGES[0], "Mara Quill", 0.8))
PAIR = Plan(replicas=2, arbitration="majority", retrieval="lexical")


class Hanging(BaseRetriever):
    """Blocks its thread until `end` is set, for half a minute at most, and then finds nothing."""

    _end: threading.Event = PrivateAttr(default_factory=threading.Event)

    @property
    def end(self) -> threading.Event:
        return self._end

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        self._end.wait(30)
        return []


@pytest.mark.parametrize("step", [stall, ignore_cancellation, block_a_thread, stream_forever], ids=lambda s: s.__name__)
def test_the_deadline_holds_against_a_bad_backend(step: Any) -> None:
    async def ask() -> Any:
        async with engine(ScriptedBackend(step)) as asked:
            return await asyncio.wait_for(asked.aask(QUESTION, profile(deadline_ms=60)), HELD_S * 0.9)

    answer = asyncio.run(ask())
    assert answer.abstained
    assert "60 ms" in answer.abstain_reason
    assert not next(result for result in answer.report if result.objective == "deadline").met


def test_at_the_deadline_the_best_answer_so_far_is_given() -> None:
    with engine(ScriptedBackend(RIGHT, name="a"), ScriptedBackend(stall, name="b")) as asked:
        answer = asked.ask(QUESTION, profile(deadline_ms=1200), plan=PAIR)
    assert answer.text == "Mara Quill"
    assert answer.citations


def test_at_the_deadline_a_rerankers_answer_is_better_than_none() -> None:
    with engine(ScriptedBackend(RIGHT, stall)) as asked:
        assert asked.ask(QUESTION, profile(deadline_ms=1200), plan=Plan(rerank=True)).text == "Mara Quill"


def test_a_retriever_that_hangs_is_left_at_the_deadline() -> None:
    class Hanging(PassageList):
        async def retrieve(self, *args: Any, **kwargs: Any) -> Any:
            await asyncio.Event().wait()

    with engine(retriever=Hanging(PASSAGES)) as asked:
        assert asked.ask(QUESTION, profile(deadline_ms=60)).abstained


@pytest.mark.parametrize("own_loop", [False, True])
def test_a_blocking_retriever_that_hangs_holds_up_neither_the_answer_nor_the_end(own_loop: bool) -> None:
    hanging = Hanging()
    asked = engine(retriever=ForeignRetriever(hanging))

    async def ask() -> Answer:
        async with asked:
            return await asked.aask(QUESTION, profile(deadline_ms=60))

    began = time.monotonic()
    if own_loop:
        with asked:
            answer = asked.ask(QUESTION, profile(deadline_ms=60))
    else:
        answer = asyncio.run(ask())
    took = time.monotonic() - began
    hanging.end.set()
    assert answer.abstained
    assert took < 10, "the thread hangs for 30 s"


def test_a_thread_that_hangs_does_not_hold_up_the_end() -> None:
    end = threading.Event()

    async def hang(request: Any) -> Any:
        await asyncio.to_thread(end.wait, 30)

    began = time.monotonic()
    with engine(ScriptedBackend(hang)) as asked:
        assert asked.ask(QUESTION, profile(deadline_ms=60)).abstained
    took = time.monotonic() - began
    end.set()
    assert took < 10


def test_no_thread_is_left_of_a_blocking_retriever_that_answers() -> None:
    before = set(threading.enumerate())
    hanging = Hanging()
    hanging.end.set()
    with engine(retriever=ForeignRetriever(hanging)) as asked:
        assert asked.ask(QUESTION).abstained
    for thread in set(threading.enumerate()) - before:
        thread.join(10)
    assert set(threading.enumerate()) <= before


def test_no_task_and_no_thread_is_left_of_cooperative_backends() -> None:
    before = set(threading.enumerate())

    async def ask() -> set[Any]:
        async with engine(ScriptedBackend(stall, stream_forever, stall)) as asked:
            for _ in range(3):
                await asked.aask(QUESTION, profile(deadline_ms=30))
        left = asyncio.all_tasks() - {asyncio.current_task()}
        return (await asyncio.wait(left, timeout=10))[1] if left else set()

    assert asyncio.run(ask()) == set(), "what was called off unwinds"
    assert set(threading.enumerate()) <= before


def test_every_call_is_charged() -> None:
    with engine(ScriptedBackend()) as asked:
        answer = asked.ask(QUESTION, plan=Plan(replicas=2, arbitration="confidence", verification="support"))
    assert answer.usd == pytest.approx(0.002)
    assert answer.device_seconds == pytest.approx(0.02)


def test_at_the_cap_the_best_answer_so_far_is_given() -> None:
    model = ScriptedBackend(RIGHT)
    with engine(model) as asked:
        answer = asked.ask(QUESTION, profile(usd=0.0005), plan=Plan(rerank=True, verification="support"))
    assert answer.text == "Mara Quill"
    assert (len(model.answered), len(model.verified)) == (1, 0), "nothing is bought after the cap"
    assert not next(result for result in answer.report if result.objective == "cost").met


def test_a_reply_that_cannot_be_used_is_paid_for_too() -> None:
    useless = BackendReplyError("nonsense", usage=Usage(input_tokens=9, device_seconds=0.02), usd=0.002)
    with engine(ScriptedBackend(useless, name="one"), ScriptedBackend(RIGHT, name="two")) as asked:
        free = asked.ask(QUESTION, plan=PAIR)
    assert (free.text, free.usd, free.device_seconds) == ("Mara Quill", pytest.approx(0.003), pytest.approx(0.03))
    model = ScriptedBackend(useless, RIGHT)
    with engine(model) as asked:
        capped = asked.ask(QUESTION, profile(usd=0.0025), plan=replace(PAIR, verification="support"))
    assert capped.usd == pytest.approx(0.003)
    assert not next(result for result in capped.report if result.objective == "cost").met
    assert (len(model.answered), len(model.verified)) == (2, 0)


class Priced(ScriptedBackend):
    """The prompt of a call with four passages costs a thousandth of a dollar and a little more."""

    price = Price(usd_per_million_input_tokens=25.0)


def test_calls_whose_prompts_would_pass_the_cap_are_not_made() -> None:
    model = Priced(RIGHT)
    with engine(model) as asked:
        answer = asked.ask(QUESTION, profile(usd=0.0019), plan=replace(PAIR, retrieval="hybrid", passages=4))
    assert (answer.text, len(model.answered)) == ("Mara Quill", 1)
    assert next(result for result in answer.report if result.objective == "cost").met


def test_a_call_that_is_cut_off_is_paid_for_by_its_prompt() -> None:
    with engine(Priced(stall)) as asked:
        late = asked.ask(QUESTION, profile(deadline_ms=60, usd=0.002))
        assert 0.0005 < (late.usd or 0.0) < 0.002
        capped = asked.ask(QUESTION, profile(usd=0.0005), plan=Plan(passages=4))
    assert (capped.abstained, capped.usd) == (True, 0.0)


def test_an_unpriced_call_under_a_cap_is_an_error() -> None:
    unpriced = reading(quote(PASSAGES[0], "Mara Quill"), usd=None)
    with engine(ScriptedBackend(unpriced)) as asked, pytest.raises(UnpricedCallError, match="no price"):
        asked.ask(QUESTION, profile(usd=1.0))


def test_a_backend_that_says_it_has_no_price_is_not_called_under_a_cap() -> None:
    model = ScriptedBackend()
    model.price = None  # type: ignore[attr-defined]
    with engine(model) as asked:
        for call in (asked.ask, asked.explain):
            with pytest.raises(UnpricedCallError, match=r"'scripted' has no price.*; give it a price"):
                call(QUESTION, profile(usd=1.0))
        assert not model.answered
        assert asked.ask(QUESTION).text


def test_a_chat_model_without_a_price_says_so() -> None:
    assert ChatBackend(FakeListChatModel(responses=["none"])).price is None
    with engine(ChatBackend(FakeListChatModel(responses=["none"]))) as asked, pytest.raises(UnpricedCallError):
        asked.ask(QUESTION, "fast")


def test_a_backend_that_times_out_long_before_the_deadline_has_failed() -> None:
    with engine(ScriptedBackend(TimeoutError("read timed out"))) as asked, pytest.raises(BackendTimeoutError):
        asked.ask(QUESTION, profile(deadline_ms=30_000))


def test_without_a_cap_an_unpriced_call_makes_the_cost_unknown() -> None:
    unpriced = reading(quote(PASSAGES[0], "Mara Quill"), usd=None)
    with engine(ScriptedBackend(unpriced)) as asked:
        assert asked.ask(QUESTION).usd is None


def test_a_backend_that_cannot_tell_its_load_still_answers() -> None:
    class Dumb(ScriptedBackend):
        async def load(self) -> Any:
            raise OSError("no such endpoint")

    with engine(Dumb()) as asked:
        assert asked.ask(QUESTION).text


def printed(renderable: RenderableType) -> str:
    out = io.StringIO()
    Console(file=out, width=140).print(renderable)
    return out.getvalue()


def test_a_question_that_is_asked_again_says_why_it_cost_nothing() -> None:
    async def ask() -> list[Answer]:
        reader = EmbeddedReader()
        try:
            async with engine(RouterBackend([reader])) as asked:
                plan = Plan(passages=4)
                answers = [await asked.aask(QUESTION, plan=plan) for _ in range(2)]
                reader.forget()
                return [*answers, await asked.aask(QUESTION, plan=plan)]
        finally:
            await reader.aclose()

    first, again, forgotten = asyncio.run(ask())
    assert [answer.reused_readings for answer in (first, again, forgotten)] == [0, 4, 0]
    assert again.usd == again.device_seconds == 0
    assert first.usd
    assert forgotten.usd
    assert again.to_dict()["reused_readings"] == 4
    assert "readings held from before" in printed(answer_view(again))
    assert "readings held from before" not in printed(answer_view(first))
