"""A hard limit around a call of somebody else's code."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from ..sla.errors import BackendTimeoutError

T = TypeVar("T")

GRACE_S = 0.02
"""How long a cancelled call may take to clean up before it is left to itself."""


async def within(call: Coroutine[Any, Any, T], seconds: float | None, backend: str) -> T:
    """The result of `call`, or `BackendTimeoutError` after `seconds` (None waits for ever).

    Unlike `asyncio.timeout`, it also returns when the call ignores its cancellation: such a call is abandoned after
    `GRACE_S`. A cancellation from outside reaches the call.
    """
    task = asyncio.ensure_future(call)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if task.done():
            return task.result()
    finally:
        await abandon(task)
    raise BackendTimeoutError(
        f"backend {backend!r} did not answer in the {seconds:.3f} s that were left",
        remedy="allow a longer deadline, or a smaller plan",
        backend=backend,
    )


async def abandon(task: asyncio.Task[Any]) -> None:
    """Cancel `task` and wait for its end, for `GRACE_S` at most; whatever it raises is dropped."""
    task.add_done_callback(_drop)
    if not task.done():
        task.cancel()
        await asyncio.wait({task}, timeout=GRACE_S)


def _drop(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
