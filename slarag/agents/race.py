"""A race of replicas: work that can no longer matter is called off."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

from .state import Reading

Result = TypeVar("Result")
GRACE_S = 0.005


class Race:
    """Readings in the order they arrive, and the moment at which they suffice.

    suffices: the arbiter's rule, None for a single replica, which races nobody. Belongs to one event loop.
    """

    def __init__(self, suffices: Callable[[Sequence[Reading]], bool] | None) -> None:
        self._suffices = suffices
        self.settled: asyncio.Future[None] | None = None
        if suffices is not None:
            self.settled = asyncio.get_running_loop().create_future()
        self.readings: list[Reading] = []

    def enter(self, reading: Reading) -> None:
        """Take a reading in; settle the race if it suffices with those before it."""
        self.readings.append(reading)
        if self.settled is None or self._suffices is None or self.settled.done():
            return
        if self._suffices(self.readings):
            self.settled.set_result(None)


async def run_unless(stop: asyncio.Future[None] | None, work: Coroutine[Any, Any, Result]) -> Result | None:
    """The result of `work`, or None if `stop` is done first; then, or when the caller is cancelled, it is cancelled.

    With a `stop`, `work` runs in a task of its own. One that ignores cancellation is left behind after `GRACE_S`
    seconds instead of being waited for: it cannot be ended, and must not hold its siblings.
    """
    if stop is None:
        return await work
    if stop.done():
        work.close()
        return None
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        await call_off(task)
        raise
    if task.done():
        return task.result()
    await call_off(task)
    return None


async def call_off(*tasks: asyncio.Task[Any]) -> None:
    """Cancel `tasks` and give them `GRACE_S` seconds to unwind; what they raise after that is nobody's."""
    for task in tasks:
        task.cancel()
        task.add_done_callback(_forget)
    pending = [task for task in tasks if not task.done()]
    if pending:
        await asyncio.wait(pending, timeout=GRACE_S)


def _forget(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()
