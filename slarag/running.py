"""The questions that an engine is answering, on whichever loops they run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, TypeVar

from .sla.errors import ConfigurationError

Result = TypeVar("Result")
PATIENCE_S = 1.0
"""How long the end of an engine waits for questions to unwind; what ignores its end is left behind."""


class Running:
    """Counts questions in, and ends them all at once. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[asyncio.Task[Any], tuple[asyncio.AbstractEventLoop, Future[None]]] = {}
        self._is_over = False

    async def of(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of `work`; raises `ConfigurationError` when `end` came first."""
        task, over = asyncio.ensure_future(work), Future[None]()
        with self._lock:
            self._calls[task] = asyncio.get_running_loop(), over
        try:
            return await task
        except asyncio.CancelledError:
            if not self._is_over or _is_cancelled():
                raise
            raise ConfigurationError(
                "the engine was closed before the answer was found", remedy="close it when all is answered"
            ) from None
        finally:
            with self._lock:
                del self._calls[task]
            over.set_result(None)

    def end(self) -> list[tuple[asyncio.AbstractEventLoop, Future[None]]]:
        """Cancel what runs; the loop of each and the future of its end."""
        with self._lock:
            self._is_over = True
            calls = list(self._calls.items())
        for task, (loop, _) in calls:
            with suppress(RuntimeError):  # that loop is closed, and its tasks with it
                loop.call_soon_threadsafe(task.cancel)
        return [call for _, call in calls]


async def until_over(ended: Iterable[Future[None]]) -> None:
    """Wait for such futures, for `PATIENCE_S` at most."""
    if waiting := [asyncio.wrap_future(one) for one in ended]:
        await asyncio.wait(waiting, timeout=PATIENCE_S)


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
