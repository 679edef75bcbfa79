"""A backend that does what its script says, one step a call."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable

from slarag.backends.protocol import (
    AnswerRequest,
    AnswerResult,
    BackendLoad,
    Capability,
    GenerateRequest,
    GenerateResult,
    Usage,
    VerifyRequest,
    VerifyResult,
)
from slarag.sla.errors import BackendUnavailableError

Step = AnswerResult | Exception | Callable[[], None] | asyncio.Event


def result(usd: float | None = 1.0, tokens: int = 10, no_answer: float = 0.5) -> AnswerResult:
    """An answer that can be told by its numbers."""
    return AnswerResult(candidates=(), no_answer=no_answer, usage=Usage(input_tokens=tokens), usd=usd)


class ScriptedBackend:
    """Each call takes the next step: returns a result, raises an exception, or waits on an event and goes on.

    requests: all that arrived. started: set at the first call. cancelled: how many calls were.
    """

    def __init__(self, name: str, *steps: Step, capabilities: frozenset[Capability] = frozenset({"answer"})) -> None:
        self._name = name
        self._capabilities = capabilities
        self._steps = deque(steps)
        self.requests: list[AnswerRequest] = []
        self.started = asyncio.Event()
        self.cancelled = 0
        self.closed = 0
        self.load_now: BackendLoad | Exception = BackendLoad()

    @property
    def name(self) -> str:
        return self._name

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._capabilities

    async def answer(self, request: AnswerRequest) -> AnswerResult:
        self.requests.append(request)
        self.started.set()
        while True:
            step = self._steps.popleft()
            if isinstance(step, Exception):
                raise step
            if isinstance(step, AnswerResult):
                return step
            await self._wait(step)

    async def _wait(self, step: asyncio.Event | Callable[[], None]) -> None:
        if not isinstance(step, asyncio.Event):
            return step()
        try:
            await step.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return None

    async def verify(self, request: VerifyRequest) -> VerifyResult:
        raise BackendUnavailableError("scripted answers only")

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        raise BackendUnavailableError("scripted answers only")

    async def load(self) -> BackendLoad:
        if isinstance(self.load_now, Exception):
            raise self.load_now
        return self.load_now

    async def aclose(self) -> None:
        self.closed += 1


class StubbornBackend(ScriptedBackend):
    """Ignores deadlines and cancellation until `release` is set."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.release = asyncio.Event()

    async def answer(self, request: AnswerRequest) -> AnswerResult:
        while not self.release.is_set():
            try:
                await self.release.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
        return result()
