"""A pool of no device: its HTTP stays, everything else ends, and the next request starts it again."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, replace
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ....sla.errors import SlaragError
from ..device_layout import DeviceLayout
from ..serve.resizing import ResizeStatus
from .asleep import AnySizeBody, Asleep, BodyError, scale_body
from .autoscale import Autoscaler
from .control import status_body
from .failures import failure, malformed
from .served import ServedPool

_SCALE = "/scale_elastic_ep"
_IS_SCALING = "/is_scaling_elastic_ep"
_KEPT = 8
_CALLED_OFF = "called off: a request came before all others were finished"


@dataclass(frozen=True, slots=True)
class Awake:
    """A pool that serves. app: its HTTP. close: finishes what runs and ends its processes.

    pool: for its size and its last resizes. describe: its OpenAPI document.
    """

    app: ASGIApp
    close: Callable[[], Awaitable[None]]
    pool: ServedPool | None = None
    describe: Callable[[], dict[str, Any]] | None = None


class WakingApp:
    """Serves a pool that `start` starts, and ends it when it is told to have no device.

    A request for work that finds it ended waits until it is there again. What only looks is answered without it, and so
    is what only asks about a resize. While it is to end it serves on: a request that comes before all others are
    finished calls the end off. card: the model's, for `/v1/models`. layout: of its devices. autoscaler: what sizes it,
    for its state. cold_start_s: how long the last start took, None before the first. The control calls are not checked
    here: a guard with the token stands before this.
    """

    def __init__(
        self,
        start: Callable[[int | None], Awaitable[Awake]],
        *,
        card: dict[str, Any] | None = None,
        layout: DeviceLayout | None = None,
        autoscaler: Autoscaler | None = None,
    ) -> None:
        self._start = start
        self._known = Asleep(card, layout, autoscaler, deque(maxlen=_KEPT))
        self._awake: Awake | None = None
        self._changing = asyncio.Lock()
        self._in_flight = 0
        self._waiting = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._ending: asyncio.Task[ResizeStatus] | None = None
        self._quiet: asyncio.Future[bool] | None = None
        self._starting: asyncio.Task[None] | None = None

    @property
    def is_awake(self) -> bool:
        """Whether there are devices."""
        return self._awake is not None

    @property
    def cold_start_s(self) -> float | None:
        """How long the last start took; None before the first."""
        return self._known.cold_start_s

    @property
    def app(self) -> ASGIApp:
        """The HTTP of the pool that is awake, for one that is never to sleep."""
        if self._awake is None:
            raise RuntimeError("the pool is not awake")
        return self._awake.app

    async def wake(self, devices: int | None = None) -> None:
        """Start the pool if it is not there, with as many devices or its usual number."""
        async with self._changing:
            await self._started(devices)

    async def end(self) -> None:
        """Finish what runs and end the pool; requests that come meanwhile start it again."""
        async with self._changing:
            if self._awake is not None:
                await self._idle.wait()
                await self._close()
        if self._ending is not None:
            await asyncio.wait({self._ending})

    async def cut_off(self) -> None:
        """End at once what runs on the pool that is there."""
        self._idle.set()
        if self._awake is not None and self._awake.pool is not None:
            await self._awake.pool.aclose()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; see the class."""
        if scope["type"] != "http":
            return
        path = scope["path"].rstrip("/")
        if scope["method"] != "POST":
            # Who only looks keeps nothing awake and waits for nothing, also while the pool ends.
            await self._look(path)(scope, receive, send)
        elif path == _SCALE:
            await self._scale(scope, receive, send)
        elif path == _IS_SCALING:
            await self._is_scaling()(scope, receive, send)
        else:
            await self._pass_on(scope, receive, send)

    def _look(self, path: str) -> ASGIApp:
        if self._awake is not None:
            return self._awake.app
        return self._known.look(path, waiting=self._waiting, is_changing=self._changing.locked())

    def _is_scaling(self) -> ASGIApp:
        """The pool's own resizes are its to tell of, unless it ends, has ended, or was to end last."""
        told, pool = self._known.status, None if self._awake is None else self._awake.pool
        if self._awake is not None and told is None:
            return self._awake.app
        epoch = 0 if pool is None else pool.cluster.placement.epoch
        return JSONResponse(status_body(told or ResizeStatus(), size=self._size, epoch=epoch))

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, devices: int | None = None) -> None:
        try:
            app = await self._enter(devices)
        except SlaragError as error:
            await _not_started(error)(scope, receive, send)
            return
        try:
            await app(scope, receive, send)
        finally:
            self._leave()

    async def _enter(self, devices: int | None) -> ASGIApp:
        """From now on the pool stays until the request is done; nothing ends it between its start and this."""
        self._waiting += 1
        self._settle(is_quiet=False)
        try:
            async with self._changing:
                awake = await self._started(devices)
                self._in_flight += 1
                self._idle.clear()
                return awake.app
        finally:
            self._waiting -= 1

    def _leave(self) -> None:
        self._in_flight -= 1
        if not self._in_flight:
            self._idle.set()
            self._settle(is_quiet=True)

    def _settle(self, *, is_quiet: bool) -> None:
        """Tell a pool that is to end whether it may, once."""
        if self._quiet is not None and not self._quiet.done():
            self._quiet.set_result(is_quiet)

    async def _started(self, devices: int | None) -> Awake:
        if self._awake is None:
            started = time.monotonic()
            self._awake = await self._start(devices)
            self._known.cold_start_s = time.monotonic() - started
            self._known.status = None
        return self._awake

    async def _scale(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw = await _body_of(receive)
        try:
            body = scale_body(raw)
        except BodyError as error:
            await malformed(error.errors)(scope, receive, send)
            return
        reply = await self._scaled_here(body)
        if reply is not None:
            await reply(scope, receive, send)
        elif body.dry_run:
            await self.app(scope, _replayed(raw, receive), send)
        else:
            self._known.status = None
            await self._pass_on(scope, _replayed(raw, receive), send, devices=body.new_data_parallel_size)

    async def _scaled_here(self, body: AnySizeBody) -> Response | None:
        """The answer to what the pool's own application cannot answer; None where it can."""
        target = body.new_data_parallel_size
        if body.dry_run:
            return self._planned(target)
        if (refusal := self._repeated(body)) is not None:
            return refusal
        if target == 0:
            return await self._ended(body)
        await self._call_end_off()
        if self._awake is None:
            return self._known.refusal_of(target) or await self._woken(body)
        return None

    def _planned(self, target: int) -> Response | None:
        if self._awake is None:
            return self._known.refusal_of(target) or self._known.plan(0, target)
        return None if target else self._known.plan(self._size, 0)

    def _repeated(self, body: AnySizeBody) -> Response | None:
        """An operation that is done is not done again; those of a pool that has ended are kept here."""
        done = next(
            (s for s in self._resizes() if s.operation_id == body.operation_id and s.phase == "completed"), None
        )
        if body.operation_id is None or done is None:
            return None
        if done.target != body.new_data_parallel_size:
            message = f"operation {body.operation_id!r} was for {done.target} devices; use a new id"
            return failure(409, message, "resize_failed")
        return _scaled_to(body.new_data_parallel_size)

    def _resizes(self) -> list[ResizeStatus]:
        pool = None if self._awake is None else self._awake.pool
        return [*self._known.history, *(() if pool is None else pool.resizing.operations)]

    async def _woken(self, body: AnySizeBody) -> Response | None:
        """Start the pool, for as long as the call may take; it goes on starting after that."""
        starting = self._starting = asyncio.create_task(self.wake(body.new_data_parallel_size))
        if not (await asyncio.wait({starting}, timeout=body.drain_timeout))[0]:
            starting.add_done_callback(_drop_error)
            return _too_slow(body)
        error = starting.exception()
        if isinstance(error, SlaragError):
            return _not_started(error)
        starting.result()
        return None

    async def _ended(self, body: AnySizeBody) -> Response:
        """End the pool once it is quiet, for as long as the call may take; it goes on waiting for that."""
        if self._ending is None:
            if self._changing.locked():
                return failure(409, "the pool is starting; ask again when it is there", "resize_failed")
            self._ending = asyncio.create_task(self._end_when_quiet(body.operation_id))
            self._ending.add_done_callback(self._forget_ending)
        ending = self._ending
        if not (await asyncio.wait({ending}, timeout=body.drain_timeout))[0]:
            return _too_slow(body)
        status = ending.result()
        return _scaled_to(0) if status.error is None else failure(409, status.error, "resize_failed")

    async def _call_end_off(self) -> None:
        self._settle(is_quiet=False)
        if self._ending is not None:
            await asyncio.wait({self._ending})

    def _forget_ending(self, ending: asyncio.Task[ResizeStatus]) -> None:
        self._ending = self._quiet = None
        _drop_error(ending)

    async def _end_when_quiet(self, operation_id: str | None) -> ResizeStatus:
        started = time.monotonic()
        status = ResizeStatus("preparing", source=self._size, target=0, operation_id=operation_id)
        self._known.status = status
        self._quiet = asyncio.get_running_loop().create_future()
        if not self._in_flight:
            self._settle(is_quiet=True)
        may_end = await self._quiet
        async with self._changing:
            # Between the last answer and here another request may have come.
            may_end = may_end and not self._in_flight
            if may_end and self._awake is not None:
                self._known.status = replace(status, phase="committing")
                await self._close()
        seconds = time.monotonic() - started
        changes: dict[str, Any] = {"phase": "completed"} if may_end else {"phase": "failed", "error": _CALLED_OFF}
        status = replace(status, seconds=seconds, **changes)
        self._known.history.append(status)
        # Woken up meanwhile, it has better things to tell.
        self._known.status = status if may_end == (self._awake is None) else None
        return status

    async def _close(self) -> None:
        """End the pool that is there, and keep what is asked of it when it is gone. The lock is held."""
        awake, self._awake = self._awake, None
        assert awake is not None
        if awake.describe is not None:
            self._known.description = awake.describe()
        if awake.pool is not None:
            self._known.history.extend(awake.pool.resizing.history)
        await awake.close()

    @property
    def _size(self) -> int:
        if self._awake is None:
            return 0
        return 1 if self._awake.pool is None else self._awake.pool.size


def _scaled_to(devices: int) -> Response:
    return JSONResponse({"message": f"Scaled to {devices} data parallel engines"})


def _too_slow(body: AnySizeBody) -> Response:
    message = f"not on {body.new_data_parallel_size} devices after {body.drain_timeout:g} seconds; it goes on"
    return failure(408, message, "timeout", param="drain_timeout")


def _not_started(error: SlaragError) -> Response:
    return failure(503, f"the pool did not start: {error}", "overloaded", code=error.code)


def _drop_error(task: asyncio.Task[Any]) -> None:
    """Whoever waited has the error, or has left."""
    if not task.cancelled():
        task.exception()


async def _body_of(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return body


def _replayed(body: bytes, receive: Receive) -> Receive:
    """What was read, once more, and then what comes."""
    messages: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed
