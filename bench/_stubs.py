"""A retriever and backends that cost nothing, or never end, so that what is left is the framework's own time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from slarag.backends.protocol import (
    AnswerRequest,
    AnswerResult,
    BackendLoad,
    Candidate,
    Capability,
    GenerateRequest,
    GenerateResult,
    VerifyRequest,
    VerifyResult,
)
from slarag.sla.evidence import Passage, Span
from slarag.sla.plan import RetrievalMethod

QUESTION = "Who built the tower of Alder?"
PASSAGES = [
    Passage(passage_id=f"p{number:02}", document_id=f"d{number:02}", text=f"Mara Quill built tower {number} of Alder.")
    for number in range(36)
]
_VECTOR = np.full((1, 384), 384**-0.5, dtype=np.float32)
_SPAN = Span(passage_id="p00", start=0, end=10)
RESULT = AnswerResult(
    candidates=(Candidate(text="Mara Quill", spans=(_SPAN,), probability=0.9),),
    no_answer=0.05,
    answerability={passage.passage_id: 1 - number / 36 for number, passage in enumerate(PASSAGES)},
    usd=0.0,
)
Step = Callable[[AnswerRequest], Awaitable[AnswerResult]]


class StubRetriever:
    """Returns the same passages at once."""

    async def embed(self, questions: list[str]) -> np.ndarray:
        """The same vector for every question."""
        return _VECTOR

    async def retrieve(
        self, question: str, *, method: RetrievalMethod, k: int, vector: np.ndarray | None = None
    ) -> list[Passage]:
        """The first `k` passages."""
        return PASSAGES[:k]

    def source_text(self, document_id: str) -> str | None:
        """No source is kept."""
        return None


class StubBackend:
    """Returns the same answer at once, or does what `step` does."""

    def __init__(self, name: str = "stub", step: Step | None = None) -> None:
        self.name = name
        self.capabilities: frozenset[Capability] = frozenset({"answer", "verify"})
        self._step = step

    async def answer(self, request: AnswerRequest) -> AnswerResult:
        """The same answer."""
        return RESULT if self._step is None else await self._step(request)

    async def verify(self, request: VerifyRequest) -> VerifyResult:
        """Supported."""
        return VerifyResult(supported=0.9, refuted=0.0, not_enough=0.1, usd=0.0)

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        """Nothing."""
        return GenerateResult(text="", usd=0.0)

    async def load(self) -> BackendLoad:
        """Idle."""
        return BackendLoad(seconds_per_passage=0.01)

    async def aclose(self) -> None:
        """Nothing to close."""


async def stall(request: AnswerRequest) -> Any:
    """Never answers."""
    await asyncio.Event().wait()


async def block(request: AnswerRequest) -> AnswerResult:
    """Blocks a worker thread for longer than the deadline."""
    await asyncio.to_thread(time.sleep, 0.2)
    return RESULT


async def stream(request: AnswerRequest) -> Any:
    """Reads tokens for ever."""
    async for _ in _tokens():
        pass


async def hang(request: AnswerRequest) -> AnswerResult:
    """Ignores its cancellation for a while."""
    end = time.monotonic() + 0.2
    while (left := end - time.monotonic()) > 0:
        try:
            await asyncio.sleep(left)
        except asyncio.CancelledError:
            continue
    return RESULT


async def _tokens() -> Any:
    while True:
        await asyncio.sleep(0.002)
        yield "token"
