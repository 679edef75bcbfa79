"""Threads for blocking calls that may never return."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
_Job = Callable[[], None]


class AbandonableThreads:
    """Runs blocking calls on at most `limit` daemon threads, which end when no call waits.

    The loop's own executor cannot serve here: closing a loop waits for its threads, so a call that hangs would hang the
    program. A call that was given up keeps its thread until it returns, and its result is dropped.
    """

    def __init__(self, limit: int = 16) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._jobs: deque[_Job] = deque()
        self._alive = 0

    @property
    def waiting(self) -> int:
        """Calls that no thread has taken."""
        return len(self._jobs)

    async def run(self, call: Callable[[], T]) -> T:
        """The result of `call`, run in a thread with this task's context variables."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()

        def job() -> None:
            if not future.cancelled():
                _deliver(loop, future, *_outcome(lambda: context.run(call)))

        self._submit(job)
        return await future

    def _submit(self, job: _Job) -> None:
        with self._lock:
            self._jobs.append(job)
            starts = self._alive < self._limit
            self._alive += starts
        if starts:
            threading.Thread(target=self._work, name="slarag-blocking-call", daemon=True).start()

    def _work(self) -> None:
        while (job := self._next()) is not None:
            job()

    def _next(self) -> _Job | None:
        with self._lock:
            if self._jobs:
                return self._jobs.popleft()
            self._alive -= 1
            return None


def _outcome(call: Callable[[], T]) -> tuple[T | None, BaseException | None]:
    try:
        return call(), None
    except StopIteration as error:
        return None, RuntimeError(f"the call raised {error!r}")  # a future refuses StopIteration
    except BaseException as error:  # noqa: BLE001  it belongs to the caller, who awaits the future
        return None, error


def _deliver(
    loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], result: object, error: BaseException | None
) -> None:
    def settle() -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    try:
        loop.call_soon_threadsafe(settle)
    except RuntimeError:  # the loop was closed meanwhile: nobody waits any more
        return
