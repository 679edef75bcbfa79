"""Fakes at the edge: a backend driven by a script, and a retriever over a handful of passages."""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import numpy as np

from slarag.backends.protocol import (
    AnswerRequest,
    AnswerResult,
    BackendLoad,
    Candidate,
    Capability,
    GenerateRequest,
    GenerateResult,
    Usage,
    VerifyRequest,
    VerifyResult,
)
from slarag.sla.evidence import Passage, Span
from slarag.sla.intents import Intent, IntentPrediction
from slarag.sla.plan import RetrievalMethod

Step = AnswerResult | Exception | Callable[[AnswerRequest], Awaitable[AnswerResult]]
DIMENSION = 384


def quote(passage: Passage, text: str, probability: float = 0.9) -> Candidate:
    """A candidate that quotes `text`, which must occur in `passage`."""
    start = passage.text.index(text)
    span = Span(passage_id=passage.passage_id, start=start, end=start + len(text))
    return Candidate(text=text, spans=(span,), probability=probability)


def reading(
    *candidates: Candidate, no_answer: float = 0.05, usd: float | None = 0.001, **answerability: float
) -> AnswerResult:
    """A result with the candidates given, as they are ordered."""
    usage = Usage(input_tokens=10, device_seconds=0.01)
    return AnswerResult(candidates=candidates, no_answer=no_answer, answerability=answerability, usage=usage, usd=usd)


class ScriptedBackend:
    """Answers from a queue of steps: results, errors, or functions of the request; then with a passage's first words.

    What was asked stays in `answered` and `verified`. `cancelled` counts calls that were cancelled while they ran.
    """

    def __init__(
        self,
        *steps: Step,
        name: str = "scripted",
        verdict: VerifyResult | Exception | None = None,
        capabilities: frozenset[Capability] = frozenset({"answer", "verify"}),
        load: BackendLoad | None = None,
    ) -> None:
        self.name = name
        self.capabilities = capabilities
        self.steps = deque(steps)
        self.verdict = verdict or VerifyResult(supported=0.9, refuted=0.02, not_enough=0.08, usd=0.0)
        self.answered: list[AnswerRequest] = []
        self.verified: list[VerifyRequest] = []
        self.cancelled = 0
        self.closed = False
        self._load = load or BackendLoad()

    async def answer(self, request: AnswerRequest) -> AnswerResult:
        self.answered.append(request)
        step = self.steps.popleft() if self.steps else first_words
        if isinstance(step, AnswerResult):
            return step
        if isinstance(step, Exception):
            raise step
        try:
            return await step(request)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise

    async def verify(self, request: VerifyRequest) -> VerifyResult:
        self.verified.append(request)
        if isinstance(self.verdict, Exception):
            raise self.verdict
        return self.verdict

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        return GenerateResult(text="", usd=0.0)

    async def load(self) -> BackendLoad:
        return self._load

    async def aclose(self) -> None:
        self.closed = True


async def first_words(request: AnswerRequest) -> AnswerResult:
    """The first two words of each passage, the likelier the higher the passage ranks."""
    candidates = [
        quote(passage, " ".join(passage.text.split()[:2]), 0.8 / 2**rank)
        for rank, passage in enumerate(request.passages)
    ]
    answerability = {passage.passage_id: 0.8 / 2**rank for rank, passage in enumerate(request.passages)}
    return reading(*candidates, **answerability)


async def stall(request: AnswerRequest) -> AnswerResult:
    """Never answers, but can be cancelled."""
    await asyncio.Event().wait()
    raise AssertionError("unreachable")


HELD_S = 3.0
"""Seconds that the steps go on for which cannot be called off."""


async def ignore_cancellation(request: AnswerRequest) -> AnswerResult:
    """Goes on for `HELD_S` whatever is asked of it."""
    end = time.monotonic() + HELD_S
    while (left := end - time.monotonic()) > 0:
        try:
            await asyncio.sleep(left)
        except asyncio.CancelledError:
            continue
    return await first_words(request)


async def block_a_thread(request: AnswerRequest) -> AnswerResult:
    """Blocks a worker thread for `HELD_S`."""
    await asyncio.to_thread(time.sleep, HELD_S)
    return await first_words(request)


async def stream_forever(request: AnswerRequest) -> AnswerResult:
    """Reads a stream that never ends."""
    async for _ in _tokens():
        pass
    raise AssertionError("unreachable")


async def _tokens() -> AsyncIterator[str]:
    while True:
        await asyncio.sleep(0.001)
        yield "token"


def after(seconds: float, result: AnswerResult) -> Callable[[AnswerRequest], Awaitable[AnswerResult]]:
    """A step that answers late."""

    async def step(request: AnswerRequest) -> AnswerResult:
        await asyncio.sleep(seconds)
        return result

    return step


class PassageList:
    """A retriever that ranks passages by the words they share with the query; `asked` keeps what was asked.

    Each method ranks differently, so that replicas differ: lexical by shared words, dense by passage id, hybrid by both
    in turn.
    """

    def __init__(self, passages: Sequence[Passage], sources: dict[str, str] | None = None) -> None:
        self.passages = list(passages)
        self.sources = sources
        self.asked: list[tuple[str, RetrievalMethod, int, bool]] = []
        self.embedded: list[list[str]] = []

    async def embed(self, questions: list[str]) -> np.ndarray | None:
        self.embedded.append(questions)
        return np.full((len(questions), DIMENSION), DIMENSION**-0.5, dtype=np.float32)

    async def retrieve(
        self, question: str, *, method: RetrievalMethod, k: int, vector: np.ndarray | None = None
    ) -> list[Passage]:
        self.asked.append((question, method, k, vector is not None))
        words = _words(question)
        shared = sorted(self.passages, key=lambda p: (-len(words & _words(p.text)), p.passage_id))
        by_id = sorted(self.passages, key=lambda p: p.passage_id)
        if method == "hybrid":
            mixed = [p for pair in zip(shared, by_id, strict=True) for p in pair]
            return list({p.passage_id: p for p in mixed}.values())[:k]
        return (shared if method == "lexical" else by_id)[:k]

    def source_text(self, document_id: str) -> str | None:
        return None if self.sources is None else self.sources.get(document_id)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text.lower()))


class FixedClassifier:
    """Gives every question the same intent."""

    def __init__(self, intent: Intent | IntentPrediction = "factoid") -> None:
        self.prediction = intent if isinstance(intent, IntentPrediction) else IntentPrediction.certain(intent)

    def predict(self, question: str, vector: np.ndarray | None) -> IntentPrediction:
        return self.prediction
