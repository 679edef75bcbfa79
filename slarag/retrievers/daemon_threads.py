"""An executor whose threads nothing has to wait for."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

GRACE_S = 0.2
"""How long `shutdown` waits for calls in hand."""


class DaemonThreads(ThreadPoolExecutor):
    """At most `limit` daemon threads, which end when no call waits.

    The standard executor is waited for when a loop closes and again when the program ends, so one call that hangs hangs
    both. Here a call that hangs keeps its thread and nothing else. It is a `ThreadPoolExecutor` by name only, for
    asyncio takes no other default executor.
    """

    def __init__(self, limit: int = 32) -> None:
        super().__init__(limit)
        self._limit = limit
        self._guard = threading.Lock()
        self._calls: deque[Callable[[], None]] = deque()
        self._started: list[threading.Thread] = []
        self._working = 0
        self._ended = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """The future of `fn(*args, **kwargs)`."""
        future: Future[T] = Future()
        with self._guard:
            if self._ended:
                raise RuntimeError("the threads were shut down")
            self._calls.append(lambda: _run(future, lambda: fn(*args, **kwargs)))
            if self._working < self._limit:
                self._start()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls; those in hand get `GRACE_S` seconds if `wait`, what is not begun by then never is."""
        with self._guard:
            self._ended = True
            if cancel_futures:
                self._calls.clear()
            started = list(self._started)
        end = time.monotonic() + (GRACE_S if wait else 0.0)
        for thread in started:
            thread.join(max(0.0, end - time.monotonic()))
        with self._guard:
            self._calls.clear()

    def _start(self) -> None:
        self._working += 1
        thread = threading.Thread(target=self._work, name="slarag-worker", daemon=True)
        self._started = [one for one in self._started if one.is_alive()] + [thread]
        thread.start()

    def _work(self) -> None:
        while (call := self._next()) is not None:
            call()

    def _next(self) -> Callable[[], None] | None:
        with self._guard:
            if self._calls:
                return self._calls.popleft()
            self._working -= 1
            return None


def _run(future: Future[Any], call: Callable[[], Any]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001  it belongs to whoever waits for the future
        future.set_exception(error)
    else:
        future.set_result(result)
