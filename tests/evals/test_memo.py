from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from slarag.backends.reader.backend import EmbeddedReader, PassageReading
from slarag.backends.reader.reading import Reading
from slarag.evals.memo import MemoReader, MemoRetriever, Memory, remembering
from slarag.retrievers.in_memory import MemoryRetriever
from slarag.sla.evidence import Passage

READING = Reading(spans=(), span_log_odds=0.0, answer_logit=0.0, support=(0.0, 0.0, 1.0), tokens=7)
A, B = (Passage(passage_id=name, document_id=name, text=f"text {name}") for name in "ab")


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """What the model was really made to read."""
    pairs: list[tuple[str, str]] = []

    async def slow(
        self: EmbeddedReader, first: str, passages: Sequence[Passage], deadline: float | None, budget: float = 1.0
    ) -> list[PassageReading]:
        pairs.extend((first, passage.passage_id) for passage in passages)
        await asyncio.sleep(0)
        return [PassageReading(READING, 7, 0.5) for _ in passages]

    monkeypatch.setattr(EmbeddedReader, "read", slow)
    return pairs


def test_another_budget_is_another_reading(read: list[tuple[str, str]]) -> None:
    async def use() -> None:
        reader = MemoReader()
        with remembering(Memory()):
            for budget in (1.0, 0.5, 1.0):
                await reader.read("q", [A], None, budget)

    asyncio.run(use())
    assert len(read) == 2


def seconds(readings: Sequence[PassageReading]) -> list[float]:
    return [reading.device_seconds for reading in readings]


def test_runs_of_one_question_read_a_pair_once_and_each_pays_for_it(read: list[tuple[str, str]]) -> None:
    async def run(memory: Memory) -> list[float]:
        with remembering(memory):
            reader = MemoReader()
            first = await reader.read("q", (A, B), None)
            again = await reader.read("q", (B,), None)
            return seconds([*first, *again])

    async def runs() -> list[list[float]]:
        memory = Memory()
        return list(await asyncio.gather(run(memory), run(memory), run(memory)))

    assert asyncio.run(runs()) == [[0.5, 0.5, 0.0]] * 3
    assert sorted(read) == [("q", "a"), ("q", "b")]


def test_outside_of_a_run_nothing_is_remembered(read: list[tuple[str, str]]) -> None:
    async def twice() -> None:
        reader = MemoReader()
        await reader.read("q", (A,), None)
        await reader.read("q", (A,), None)

    asyncio.run(twice())
    assert len(read) == 2


def test_a_caller_that_gives_up_does_not_take_the_reading_from_the_others(read: list[tuple[str, str]]) -> None:
    async def run() -> list[float]:
        memory = Memory()
        reader = MemoReader()
        with remembering(memory):
            leaving = asyncio.create_task(reader.read("q", (A,), None))
            await asyncio.sleep(0)
            leaving.cancel()
        with remembering(memory):
            return seconds(await reader.read("q", (A,), None))

    assert asyncio.run(run()) == [0.5]
    assert len(read) == 1


def test_a_failure_is_not_remembered() -> None:
    attempts: list[int] = []

    async def make() -> int:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("busy")
        return 3

    async def run() -> int:
        memory = Memory()
        with pytest.raises(OSError, match="busy"):
            await memory.once("key", make)
        return await memory.once("key", make)

    assert asyncio.run(run()) == 3


def test_searches_are_shared_and_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    inner = MemoryRetriever([A, B])
    searches: list[int] = []
    retrieve = inner.retrieve

    async def counted(*args: object, **kwargs: object) -> list[Passage]:
        searches.append(1)
        return await retrieve(*args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(inner, "retrieve", counted)

    async def run() -> list[list[Passage]]:
        retriever = MemoRetriever(inner)
        with remembering(Memory()):
            found = [await retriever.retrieve("text b", method="lexical", k=2) for _ in range(3)]
        return [*found, await retriever.retrieve("text b", method="lexical", k=2)]

    found = asyncio.run(run())
    assert all(passages == found[0] for passages in found)
    assert len(searches) == 2


def test_a_run_searches_the_corpus_that_it_names() -> None:
    async def found(corpus: str | None) -> list[str]:
        retriever = MemoRetriever(MemoryRetriever([A, B]), {"b": MemoryRetriever([B])})
        with remembering(Memory(), corpus=corpus):
            passages = await retriever.retrieve("text", method="lexical", k=5)
        return [passage.passage_id for passage in passages]

    assert asyncio.run(found(None)) == ["a", "b"]
    assert asyncio.run(found("b")) == ["b"]
