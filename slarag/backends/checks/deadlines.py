"""Checks that a backend does not outlive its deadline."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from unittest import SkipTest

from ...sla.errors import BackendTimeoutError
from ...sla.evidence import Passage
from ..protocol import Backend
from .case import (
    LIGHTHOUSE,
    Case,
    answer_request,
    deadline_in,
    generate_request,
    require,
    verify_request,
)

SHORT_S = 0.1


async def past_deadlines_raise(case: Case) -> None:
    """A call whose deadline has passed raises `BackendTimeoutError`, whatever the task."""
    for task, call in _calls(case.backend, deadline_in(-1.0)):
        await _require_timeout(task, call)


async def calls_end_at_their_deadline(case: Case) -> None:
    """A large call returns or raises `BackendTimeoutError` soon after its deadline."""
    case.needs("answer")
    many = [
        Passage(passage_id=f"copy#{number}", document_id="copies", text=f"Copy {number}. {LIGHTHOUSE.text * 20}")
        for number in range(32)
    ]
    began = time.monotonic()
    with suppress(BackendTimeoutError):
        await case.backend.answer(answer_request(*many, deadline=began + SHORT_S))
    _require_in_time(case, began)


async def stalled_calls_raise_at_their_deadline(case: Case) -> None:
    """A backend whose model never answers raises `BackendTimeoutError` soon after the deadline, for each task."""
    backend = case.make_stalled()
    if backend is None:
        raise SkipTest("no stalled form of this backend was given")
    try:
        for task, call in _calls(backend, deadline_in(SHORT_S)):
            began = time.monotonic()
            await _require_timeout(task, call)
            _require_in_time(case, began)
    finally:
        await backend.aclose()


async def cancelled_calls_end(case: Case) -> None:
    """A call that is cancelled ends, and the backend serves the next one."""
    case.needs("answer")
    call = asyncio.ensure_future(case.backend.answer(answer_request()))
    await asyncio.sleep(0)
    call.cancel()
    await asyncio.wait({call}, timeout=case.settings.tolerance_s)
    require(call.done(), "a cancelled call goes on")
    await case.backend.answer(answer_request())


CHECKS = (
    past_deadlines_raise,
    calls_end_at_their_deadline,
    stalled_calls_raise_at_their_deadline,
    cancelled_calls_end,
)


def _calls(backend: Backend, deadline: float) -> list[tuple[str, Callable[[], Awaitable[object]]]]:
    every: dict[str, Callable[[], Awaitable[object]]] = {
        "answer": lambda: backend.answer(answer_request(deadline=deadline)),
        "verify": lambda: backend.verify(verify_request(deadline=deadline)),
        "generate": lambda: backend.generate(generate_request(deadline=deadline)),
    }
    return [(task, call) for task, call in every.items() if task in backend.capabilities]


async def _require_timeout(task: str, call: Callable[[], Awaitable[object]]) -> None:
    try:
        result = await call()
    except BackendTimeoutError:
        return
    raise AssertionError(f"{task} returned {result!r} after its deadline instead of raising BackendTimeoutError")


def _require_in_time(case: Case, began: float) -> None:
    late = time.monotonic() - began - SHORT_S
    require(late <= case.settings.tolerance_s, f"the call ended {late:.2f} s after its deadline")
