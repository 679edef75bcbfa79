"""What the tests of the router share."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from slarag.backends.protocol import AnswerRequest, Price, Usage
from slarag.backends.routing.policy import RouterPolicy
from slarag.sla.errors import (
    BackendReplyError,
    BackendUnavailableError,
)
from slarag.sla.evidence import Passage

T = TypeVar("T")

PRICE = Price(usd_per_million_input_tokens=1.0)
REQUEST = AnswerRequest(question="Who?", passages=(Passage(passage_id="p", document_id="d", text="Somebody."),))
NO_RETRIES = RouterPolicy(retries=0)


def unavailable(**details: object) -> BackendUnavailableError:
    return BackendUnavailableError("refused", **details)


def useless(tokens: int, usd: float | None) -> BackendReplyError:
    return BackendReplyError("nonsense", usage=Usage(input_tokens=tokens), usd=usd)


class Pauses:
    """Stands in for `asyncio.sleep` and keeps what was asked of it."""

    def __init__(self) -> None:
        self.asked: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def run(call: Coroutine[Any, Any, T]) -> T:
    """Run `call`, and require that it leaves no task behind."""

    async def whole() -> T:
        try:
            return await call
        finally:
            assert asyncio.all_tasks() == {asyncio.current_task()}

    return asyncio.run(whole())
