"""An event loop in a thread of its own, so that synchronous calls work inside a running loop too."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

from .retrievers.daemon_threads import DaemonThreads

Result = TypeVar("Result")


class LoopThread:
    """A loop that runs until `close`. The thread starts with the first call; any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of `work`, run on the loop; an interrupt of the waiting thread cancels it."""
        future = asyncio.run_coroutine_threadsafe(work, self._started())
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Cancel what still runs, stop the loop and join the thread; a later call starts a new one.

        A worker thread that hangs in somebody else's code is left behind, as a daemon.
        """
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=_serve, args=(self._loop,), name="slarag-loop", daemon=True)
                self._thread.start()
            return self._loop


def run_apart(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of `work`, run on a loop of its own, also where a loop is running."""
    loop = LoopThread()
    try:
        return loop.run(work)
    finally:
        loop.close()


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.set_default_executor(DaemonThreads())
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(_wind_up(loop))
        loop.close()


async def _wind_up(loop: asyncio.AbstractEventLoop) -> None:
    """End the loop's tasks, generators and worker threads; what ignores its end is waited for only briefly."""
    tasks = asyncio.all_tasks(loop) - {asyncio.current_task(loop)}
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=1.0)
    await loop.shutdown_asyncgens()
    await loop.shutdown_default_executor()
