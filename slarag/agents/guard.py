"""A call of a backend: whatever it raises, and a result that is none, becomes a `BackendError` that names it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Coroutine
from typing import Any, TypeVar

from ..backends.protocol import AnswerResult, Backend, Candidate, VerifyResult
from ..sla.errors import BackendError, BackendReplyError, BackendTimeoutError, SlaragError
from .race import run_unless

Result = TypeVar("Result", AnswerResult, VerifyResult)


async def guarded(
    backend: Backend, kind: type[Result], work: Coroutine[Any, Any, Result], stop: asyncio.Future[None] | None
) -> Result | None:
    """The result of `work`, which is a call of `backend`; None if `stop` came first."""
    task = task_of(kind)
    try:
        result = await run_unless(stop, work)
    except SlaragError:
        raise
    except TimeoutError as error:
        raise BackendTimeoutError(
            f"backend {backend.name!r} timed out in {task}", remedy="allow a longer deadline", backend=backend.name
        ) from error
    except Exception as error:
        raise BackendError(
            f"backend {backend.name!r} failed in {task}: {type(error).__name__}: {str(error)[:200]}",
            remedy="check the backend's service and settings",
            backend=backend.name,
        ) from error
    if result is None and stop is not None and stop.done():
        return None
    if fault := _fault(kind, result):
        paid = {"usage": result.usage, "usd": result.usd} if isinstance(result, kind) and _is_price(result.usd) else {}
        raise BackendReplyError(
            f"backend {backend.name!r} gave from {task} {fault}",
            remedy="try the backend with slarag.backends.conformance.check_backend",
            backend=backend.name,
            **paid,
        )
    return result


def task_of(kind: type[AnswerResult] | type[VerifyResult]) -> str:
    """The name of the call that gives such results."""
    return "answer" if kind is AnswerResult else "verify"


def _fault(kind: type[AnswerResult] | type[VerifyResult], result: object) -> str:
    """What is wrong with a result, empty for nothing."""
    if not isinstance(result, AnswerResult | VerifyResult) or not isinstance(result, kind):
        return f"a {type(result).__name__}, not a {kind.__name__}"
    if not _is_price(result.usd):
        return f"the price {result.usd!r}"
    wrong = [candidate for candidate in getattr(result, "candidates", ()) if not _is_answer(candidate)]
    return f"{wrong[0]!r}, which has no text or no span" if wrong else ""


def _is_price(usd: float | None) -> bool:
    return usd is None or (math.isfinite(usd) and usd >= 0)


def _is_answer(candidate: object) -> bool:
    if not isinstance(candidate, Candidate):
        return False
    text: object = candidate.text
    return isinstance(text, str) and bool(text.strip()) and bool(candidate.spans)
