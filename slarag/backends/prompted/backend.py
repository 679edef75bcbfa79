"""A backend that prompts a language model: everything but the call itself."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TypeVar

from ...sla.errors import BackendReplyError
from ..deadlines import within
from ..protocol import (
    AnswerRequest,
    AnswerResult,
    BackendLoad,
    Candidate,
    Capability,
    GenerateRequest,
    GenerateResult,
    Price,
    Usage,
    VerifyRequest,
    VerifyResult,
    seconds_left,
)
from .completion import Completion, Prompt
from .prompts import answer_prompt, generate_prompt, verify_prompt
from .replies import UnusableReplyError, read_answer, read_verdict

T = TypeVar("T")

CHARACTERS_PER_TOKEN = 3
"""For a service that reports no usage: real text has about 4, so that the estimate errs on the dear side."""
_RECENT = 0.2


class PromptedBackend(ABC):
    """Answers, verifies and generates over one method, `_complete`, which a subclass writes.

    name: for reports. price: None makes its calls unpriced.
    """

    def __init__(self, *, name: str, price: Price | None) -> None:
        self._name = name
        self._price = price
        self._running = 0
        self._seconds_per_passage: float | None = None

    @abstractmethod
    async def _complete(self, prompt: Prompt) -> Completion:
        """Ask the model once, until cancelled at the deadline. Raises the errors of `Backend`."""

    @property
    def name(self) -> str:
        """The name given."""
        return self._name

    @property
    def price(self) -> Price | None:
        """The price given."""
        return self._price

    @property
    def capabilities(self) -> frozenset[Capability]:
        """All three tasks."""
        return frozenset({"answer", "verify", "generate"})

    async def answer(self, request: AnswerRequest) -> AnswerResult:
        """See `Backend.answer`; without passages the answer is that there is none, and no call is made."""
        seconds_left(request.deadline, self._name)
        if not request.passages:
            return AnswerResult(candidates=(), no_answer=1.0, usd=self._usd(Usage()))
        with self._timing(len(request.passages)):
            completion, usage = await self._ask(answer_prompt(request), request.deadline)
        candidates, no_answer = self._read(
            lambda: read_answer(request.kind, completion.text, request.passages, request.n_best), completion, usage
        )
        return AnswerResult(
            candidates=candidates,
            no_answer=no_answer,
            answerability=_answerability(request, candidates),
            usage=usage,
            usd=self._usd(usage),
        )

    async def verify(self, request: VerifyRequest) -> VerifyResult:
        """See `Backend.verify`; without evidence there is not enough, and no call is made."""
        seconds_left(request.deadline, self._name)
        if not request.evidence:
            return VerifyResult(supported=0.0, refuted=0.0, not_enough=1.0, usd=self._usd(Usage()))
        completion, usage = await self._ask(verify_prompt(request), request.deadline)
        supported, refuted, not_enough = self._read(lambda: read_verdict(completion.text), completion, usage)
        return VerifyResult(
            supported=supported, refuted=refuted, not_enough=not_enough, usage=usage, usd=self._usd(usage)
        )

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        """See `Backend.generate`."""
        completion, usage = await self._ask(generate_prompt(request), request.deadline)
        return GenerateResult(text=completion.text, usage=usage, usd=self._usd(usage))

    async def load(self) -> BackendLoad:
        """This process's calls in flight; seconds_per_passage is the recent wall time of an answer by its passages."""
        return BackendLoad(running=self._running, seconds_per_passage=self._seconds_per_passage)

    async def aclose(self) -> None:  # noqa: B027  a subclass that holds something releases it
        """Nothing is held."""

    async def _ask(self, prompt: Prompt, deadline: float | None) -> tuple[Completion, Usage]:
        left = seconds_left(deadline, self._name)
        self._running += 1
        try:
            completion = await within(self._complete(prompt), left, self._name)
        finally:
            self._running -= 1
        return completion, completion.usage or _estimated(prompt, completion)

    def _read(self, read: Callable[[], T], completion: Completion, usage: Usage) -> T:
        try:
            return read()
        except UnusableReplyError as fault:
            why = "it ended at its token limit" if completion.truncated else str(fault)
            raise BackendReplyError(
                f"backend {self._name!r} replied {completion.text[:60]!r}, which cannot be used: {why}",
                remedy="ask again, or use a model that keeps to JSON",
                backend=self._name,
                usage=usage,
                usd=self._usd(usage),
            ) from None

    def _usd(self, usage: Usage) -> float | None:
        return None if self._price is None else self._price.of(usage)

    @contextmanager
    def _timing(self, passages: int) -> Generator[None]:
        began = time.monotonic()
        yield
        now = (time.monotonic() - began) / passages
        before = self._seconds_per_passage
        self._seconds_per_passage = now if before is None else before + _RECENT * (now - before)


def _answerability(request: AnswerRequest, candidates: tuple[Candidate, ...]) -> dict[str, float]:
    """A passage answers as far as the answers that cite it are believed."""
    shares = dict.fromkeys((passage.passage_id for passage in request.passages), 0.0)
    for candidate in candidates:
        for passage_id in {span.passage_id for span in candidate.spans}:
            shares[passage_id] = min(1.0, shares[passage_id] + candidate.probability)
    return shares


def _estimated(prompt: Prompt, completion: Completion) -> Usage:
    return Usage(
        input_tokens=-(-len(prompt.system + prompt.user) // CHARACTERS_PER_TOKEN),
        output_tokens=-(-len(completion.text) // CHARACTERS_PER_TOKEN),
    )
