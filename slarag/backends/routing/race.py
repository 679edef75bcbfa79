"""The order in which backends are started for one request, and who wins."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

from ...sla.errors import BackendError, BackendReplyError, BackendTimeoutError, BackendUnavailableError
from ..deadlines import abandon
from .lane import Lane, Request, Result, time_left
from .policy import RouterPolicy


@dataclass(frozen=True, kw_only=True, slots=True)
class Finish(Generic[Request, Result]):
    """How a race ended. losers: the lanes whose attempt was under way when another lane won."""

    result: Result
    winner: Lane[Request, Result]
    losers: tuple[Lane[Request, Result], ...]


class Race(Generic[Request, Result]):
    """Lanes in order: the next one starts when all started ones have failed, or, once, when a hedge is due."""

    def __init__(self, lanes: Sequence[Lane[Request, Result]], policy: RouterPolicy) -> None:
        self._waiting = deque(lanes)
        self._policy = policy
        self._running: dict[asyncio.Task[Result], Lane[Request, Result]] = {}
        self._errors: list[BackendError] = []
        self._has_hedged = False

    async def run(self, request: Request) -> Finish[Request, Result]:
        """Run until one lane has a result; raises an error of the last one's class when all have failed."""
        self._start(request)
        try:
            while True:
                finished = await self._wait(request)
                for task in finished:
                    lane = self._running.pop(task)
                    error = _error_of(task, lane)
                    if error is None:
                        return Finish(result=task.result(), winner=lane, losers=self._owing())
                    self._errors.append(error)
                if not self._running:
                    self._fall_back(request)
        finally:
            await asyncio.gather(*map(abandon, self._running))

    def _start(self, request: Request) -> None:
        lane = self._waiting.popleft()
        self._running[asyncio.create_task(lane.run(request))] = lane

    async def _wait(self, request: Request) -> list[asyncio.Task[Result]]:
        """The tasks that have finished, in the order of their start; starts a hedge when that is due."""
        may_hedge = bool(self._waiting) and not self._has_hedged
        timeout = self._policy.hedge_after_s if may_hedge else None
        done, _ = await asyncio.wait(self._running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            self._has_hedged = True
            if self._policy.has_time(time_left(request)):
                self._start(request)
        return [task for task in self._running if task in done]

    def _fall_back(self, request: Request) -> None:
        if not self._waiting or not self._policy.has_time(time_left(request)):
            raise self._defeat()
        self._start(request)

    def _owing(self) -> tuple[Lane[Request, Result], ...]:
        return tuple(lane for task, lane in self._running.items() if lane.is_calling and not task.done())

    def _defeat(self) -> BackendError:
        last = self._errors[-1]
        if len(self._errors) == 1:
            return last
        why = ", then ".join(error.message for error in self._errors)
        return _class_of(last)(f"every backend failed: {why}", remedy=last.remedy)


def _error_of(task: asyncio.Task[Result], lane: Lane[Request, Result]) -> BackendError | None:
    if task.cancelled():  # nobody here cancels a lane that is still in the race
        return BackendUnavailableError(
            f"backend {lane.backend.name!r} cancelled its own call", backend=lane.backend.name
        )
    error = task.exception()
    if error is not None and not isinstance(error, BackendError):
        raise error
    return error


def _class_of(error: BackendError) -> Callable[..., BackendError]:
    kinds = (BackendTimeoutError, BackendReplyError, BackendUnavailableError)
    return next((kind for kind in kinds if isinstance(error, kind)), BackendError)
