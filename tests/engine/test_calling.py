"""The ways to call an engine give the same answers."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, TypedDict

import pytest

from slarag.agents.events import AnswerEvent, DecisionEvent, IntentEvent, PassagesEvent, ReplicaEvent, VerdictEvent
from slarag.engine import Engine
from slarag.feedback import read_feedback
from slarag.sla.answer import Answer
from slarag.sla.errors import BackendUnavailableError, ConfigurationError, DataError, QuestionError, StorageError
from slarag.sla.plan import Plan
from tests.engine.support import QUESTION, engine
from tests.fakes import PassageList, ScriptedBackend, stall


def timeless(answer: Answer) -> Answer:
    return replace(answer, timings_ms={}, report=())


def test_sync_and_async_agree() -> None:
    async def ask() -> Answer:
        async with engine() as asked:
            return await asked.aask(QUESTION)

    with engine() as asked:
        assert timeless(asked.ask(QUESTION)) == timeless(asyncio.run(ask()))


def test_ask_works_inside_a_running_loop() -> None:
    async def notebook() -> str:
        with engine() as asked:
            return asked.ask(QUESTION).text

    assert asyncio.run(notebook())


def test_the_private_loop_ends_with_the_engine() -> None:
    before = set(threading.enumerate())
    asked = engine()
    asked.ask(QUESTION)
    asked.close()
    asked.close()
    assert set(threading.enumerate()) <= before


CALLS: dict[str, Callable[[Engine], object]] = {
    "ask": lambda engine: engine.ask(QUESTION),
    "batch": lambda engine: engine.batch([QUESTION]),
    "explain": lambda engine: engine.explain(QUESTION),
    "classify": lambda engine: engine.classify(QUESTION),
    "aask": lambda engine: asyncio.run(engine.aask(QUESTION)),
    "abatch": lambda engine: asyncio.run(engine.abatch([QUESTION])),
    "astream": lambda engine: asyncio.run(anext(engine.astream(QUESTION))),  # type: ignore[arg-type]
    "runnable": lambda engine: engine.as_runnable().invoke(QUESTION),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("used", [False, True])
def test_a_closed_engine_says_so_and_starts_nothing(call: str, used: bool) -> None:
    before = set(threading.enumerate())
    asked = engine()
    if used:
        asked.ask(QUESTION)
    asked.close()
    with pytest.raises(ConfigurationError, match=r"the engine is closed; open another one with Engine\.open"):
        CALLS[call](asked)
    assert set(threading.enumerate()) <= before


def test_an_engine_that_was_closed_on_a_loop_is_closed() -> None:
    asked = engine()
    asyncio.run(asked.aclose())
    asked.close()
    with pytest.raises(ConfigurationError, match="the engine is closed"):
        asked.ask(QUESTION)


@pytest.mark.parametrize("question", [None, 5, b"why?", ["why?"]])
@pytest.mark.parametrize("call", ["ask", "explain", "classify"])
def test_what_is_no_text_is_no_question(call: str, question: Any) -> None:
    with engine() as asked, pytest.raises(QuestionError, match=f"of type {type(question).__name__}, not str"):
        getattr(asked, call)(question)


def test_half_a_character_is_no_question() -> None:
    with engine() as asked, pytest.raises(QuestionError, match="no text: surrogates"):
        asked.ask("\ud800 who?")


def test_a_batch_of_one_text_is_refused() -> None:
    with engine() as asked, pytest.raises(QuestionError, match="one text, not several"):
        asked.batch(QUESTION)


@pytest.mark.parametrize("asked_for", [None, 7, [QUESTION]])
def test_the_runnable_refuses_what_is_no_question(asked_for: Any) -> None:
    with engine() as asked, pytest.raises(QuestionError, match="the question is of type"):
        asked.as_runnable().invoke(asked_for)


def test_a_batch_keeps_the_order() -> None:
    questions = [f"{QUESTION} {number}" for number in range(20)]
    with engine() as asked:
        answers = asked.batch(questions, concurrency=4)
    assert [answer.question for answer in answers] == questions


def test_a_batch_runs_at_most_so_many_at_once() -> None:
    running, most = 0, 0

    async def step(request: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1
        raise BackendUnavailableError("enough")

    with engine(ScriptedBackend(*[step] * 9)) as asked, pytest.raises(BackendUnavailableError):
        asked.batch([QUESTION] * 9, concurrency=3)
    assert most <= 3


def test_events_come_in_order() -> None:
    async def stream() -> list[Any]:
        async with engine() as asked:
            return [event async for event in asked.astream(QUESTION, plan=Plan(hops=2, rerank=True))]

    events = asyncio.run(stream())
    assert [type(event) for event in events] == [
        IntentEvent,
        DecisionEvent,
        PassagesEvent,
        PassagesEvent,
        PassagesEvent,
        ReplicaEvent,
        VerdictEvent,
        AnswerEvent,
    ]
    names = [json.loads(json.dumps(event.to_dict()))["event"] for event in events]
    assert names == ["intent", "decision", "passages", "passages", "passages", "replica", "verdict", "answer"]


def test_closing_the_stream_cancels_the_query() -> None:
    model = ScriptedBackend(stall)

    async def stream() -> set[Any]:
        async with engine(model) as asked:
            events = asked.astream(QUESTION)
            async for event in events:
                if isinstance(event, PassagesEvent):
                    await asyncio.sleep(0.01)
                    break
            await events.aclose()  # type: ignore[attr-defined]
        return asyncio.all_tasks() - {asyncio.current_task()}

    assert asyncio.run(stream()) == set()
    assert model.cancelled == 1


def test_an_error_ends_the_stream() -> None:
    async def stream() -> None:
        async with engine(ScriptedBackend(BackendUnavailableError("gone"))) as asked:
            async for _ in asked.astream(QUESTION):
                pass

    with pytest.raises(BackendUnavailableError):
        asyncio.run(stream())


def test_explaining_reads_nothing() -> None:
    model = ScriptedBackend()
    with engine(model, mapper=None) as asked:
        decision = asked.explain(QUESTION)
        assert asked.classify(QUESTION).top == "factoid"
        assert asked.ask(QUESTION).decisions[0].plan == decision.plan
    assert len(decision.feasible) > 1


def test_the_runnable_takes_questions_and_mappings() -> None:
    with engine() as asked:
        runnable = asked.as_runnable()
        plain = runnable.invoke(QUESTION)
        assert timeless(runnable.invoke({"question": QUESTION, "profile": "fast"})).profile == "fast"
        assert [answer.text for answer in runnable.batch([QUESTION, QUESTION])] == [plain.text] * 2
        assert asyncio.run(runnable.ainvoke(QUESTION)).text == plain.text
        assert [answer.text for answer in runnable.stream(QUESTION)] == [plain.text]
        assert (runnable | (lambda answer: answer.text)).invoke(QUESTION) == plain.text
        with pytest.raises(QuestionError, match="profil"):
            runnable.invoke({"question": QUESTION, "profil": "fast"})


def test_a_node_of_another_graph_may_ask() -> None:
    from langgraph.checkpoint.memory import InMemorySaver
    from langgraph.graph import END, START, StateGraph

    class State(TypedDict, total=False):
        question: str
        answer: str

    async def ask(state: State) -> State:
        async with engine() as asked:
            return {"answer": (await asked.aask(state["question"], plan=Plan(replicas=2, arbitration="majority"))).text}

    graph = StateGraph(State)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    app = graph.compile(checkpointer=InMemorySaver())
    done = asyncio.run(app.ainvoke({"question": QUESTION}, {"configurable": {"thread_id": "1"}}))
    assert set(done) == {"question", "answer"}
    assert done["answer"]


def test_feedback_is_a_line_of_json(tmp_path: Path) -> None:
    path = tmp_path / "new" / "feedback.jsonl"
    with engine() as asked:
        answer = asked.ask(QUESTION)
        asked.feedback(answer, correct=True, path=path)
        asked.feedback(answer, correct=False, path=path)
        with pytest.raises(StorageError, match="check"):
            asked.feedback(answer, correct=True, path=tmp_path)
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [row["wrong"] for row in rows] == [False, True]
    assert rows[0]["plan_key"] == answer.decisions[0].plan.key
    assert rows[0]["features"]["kind"] == "span"


def test_feedback_is_read_back_with_the_last_word_on_each_answer(tmp_path: Path) -> None:
    path = tmp_path / "feedback.jsonl"
    with engine() as asked:
        answers = [asked.ask(QUESTION), asked.ask("Who built the mill\u2028of Birch?")]
        for answer, correct in zip([*answers, answers[0]], (True, True, False), strict=True):
            asked.feedback(answer, correct=correct, path=path)
    runs = read_feedback(path)
    assert [run.wrong for run in runs] == [True, False]
    assert [run.features for run in runs] == [answer.features for answer in answers]
    assert len({run.question_id for run in runs}) == 2


def test_an_answer_that_was_never_found_teaches_no_confidence(tmp_path: Path) -> None:
    path = tmp_path / "feedback.jsonl"
    with engine(retriever=PassageList(())) as asked:
        asked.feedback(asked.ask(QUESTION), correct=False, path=path)
    assert read_feedback(path) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'\n{"schema": 1}\n', r"feedback.jsonl:2: not a line of feedback \('features'\)"),
        (b'{"schema": 9}', "schema 9, not 1"),
        (b'{"schema": 1', "feedback.jsonl:1"),
        (b"[]", "feedback.jsonl:1"),
        (b"\xff", "not a UTF-8 text file"),
        (None, "cannot be read: No such file"),
    ],
)
def test_what_is_no_feedback_is_refused_with_its_line(content: bytes | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "feedback.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_feedback(path)


def test_backends_need_names_of_their_own() -> None:
    with pytest.raises(ConfigurationError, match="names"):
        engine(ScriptedBackend(), ScriptedBackend())


def test_what_was_given_stays_open() -> None:
    model = ScriptedBackend()
    with engine(model) as asked:
        asked.ask(QUESTION)
    assert not model.closed
