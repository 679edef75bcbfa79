"""A reader and a retriever that do nothing twice for one question, so that every plan of a space can be measured on it.

Quality does not depend on when a pair was read, so all plans share one reading of it. Each run is still charged the
device time that its own readings took when they were made, each pair once, as the reader's own memory would have it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator, Hashable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np

from ..backends.reader.backend import EmbeddedReader, PassageReading
from ..retrievers.protocol import PassageRetriever
from ..sla.evidence import Passage
from ..sla.plan import RetrievalMethod

Result = TypeVar("Result")


class Memory:
    """What was read and found for one question; concurrent askers of the same thing wait for the first."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[Any]] = {}

    async def once(self, key: Hashable, make: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """The result of `make()`, which runs at the first call with `key`; a failure is not remembered."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(make())
        try:
            # Shielded: a replica that is called off must not take the reading from the others.
            return await asyncio.shield(task)
        except BaseException:
            if task.done() and self._tasks.get(key) is task and (task.cancelled() or task.exception() is not None):
                del self._tasks[key]
            raise


@dataclass(slots=True)
class _Run:
    """One plan on one question.

    memory: the question's. corpus: the name of the documents to search, None for all. paid: the readings (pair, budget)
    that this run has paid for.
    """

    memory: Memory
    corpus: str | None = None
    paid: set[tuple[str, str, float]] = field(default_factory=set[tuple[str, str, float]])


_RUN: ContextVar[_Run | None] = ContextVar("slarag_memo_run", default=None)


@contextmanager
def remembering(memory: Memory, *, corpus: str | None = None) -> Generator[None]:
    """What runs inside is one run that uses `memory` and searches `corpus`; outside of it nothing is remembered."""
    token = _RUN.set(_Run(memory, corpus))
    try:
        yield
    finally:
        _RUN.reset(token)


class MemoReader(EmbeddedReader):
    """The embedded reader, reading no pair twice for one `Memory`."""

    async def read(
        self, first: str, passages: Sequence[Passage], deadline: float | None, budget: float = 1.0
    ) -> list[PassageReading]:
        """See `EmbeddedReader.read`."""
        run = _RUN.get()
        if run is None:
            return await super().read(first, passages, deadline, budget)
        readings = await asyncio.gather(*(self._remembered(run, first, passage, budget) for passage in passages))
        return [
            _charged(run, (first, passage.text, budget), reading)
            for passage, reading in zip(passages, readings, strict=True)
        ]

    async def _remembered(self, run: _Run, first: str, passage: Passage, budget: float) -> PassageReading:
        async def read_now() -> PassageReading:
            (reading,) = await EmbeddedReader.read(self, first, (passage,), None, budget)
            return reading

        return await run.memory.once(("read", first, passage.text, budget), read_now)


class MemoRetriever:
    """A retriever that embeds and searches nothing twice for one `Memory`.

    retriever: over all documents. corpora: over parts of them, by the name that a run asks for.
    """

    def __init__(self, retriever: PassageRetriever, corpora: Mapping[str, PassageRetriever] | None = None) -> None:
        self._retriever = retriever
        self._corpora = corpora or {}

    @property
    def embedder_fingerprint(self) -> str | None:
        """See `PassageRetriever`."""
        return getattr(self._retriever, "embedder_fingerprint", None)

    async def embed(self, questions: list[str]) -> np.ndarray | None:
        """See `PassageRetriever.embed`."""
        run = _RUN.get()
        if run is None:
            return await self._retriever.embed(questions)
        return await run.memory.once(("embed", *questions), lambda: self._retriever.embed(questions))

    async def retrieve(
        self, question: str, *, method: RetrievalMethod, k: int, vector: np.ndarray | None = None
    ) -> list[Passage]:
        """See `PassageRetriever.retrieve`."""
        run = _RUN.get()
        if run is None:
            return await self._retriever.retrieve(question, method=method, k=k, vector=vector)
        searched = self._retriever if run.corpus is None else self._corpora[run.corpus]
        return await run.memory.once(
            ("search", question, method, k),
            lambda: searched.retrieve(question, method=method, k=k, vector=vector),
        )

    def source_text(self, document_id: str) -> str | None:
        """See `PassageRetriever.source_text`."""
        return self._retriever.source_text(document_id)


def _charged(run: _Run, pair: tuple[str, str, float], reading: PassageReading) -> PassageReading:
    if pair in run.paid:
        return replace(reading, tokens=0, device_seconds=0.0)
    run.paid.add(pair)
    return reading
