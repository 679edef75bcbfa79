"""A pool of no device: its HTTP stays, everything else ends, and the next request starts it again."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ....sla.errors import SlaragError
from .autoscale import Autoscaler
from .failures import failure

_SCALE = "/scale_elastic_ep"
_RETRY_SECONDS = "1"


@dataclass(frozen=True, slots=True)
class Awake:
    """A pool that serves. app: its HTTP. close: finishes what runs and ends its processes."""

    app: ASGIApp
    close: Callable[[], Awaitable[None]]


class WakingApp:
    """Serves a pool that `start` starts, and ends it when it is told to have no device.

    A request for work that finds it ended waits until it is there again. What only looks is answered without it. card:
    the model's, for `/v1/models`. autoscaler: what sizes it, for its state. cold_start_s: how long the last start took,
    None before the first. The control calls are not checked here: a guard with the token stands before this.
    """

    def __init__(
        self,
        start: Callable[[int | None], Awaitable[Awake]],
        *,
        card: dict[str, Any] | None = None,
        autoscaler: Autoscaler | None = None,
    ) -> None:
        self._start = start
        self._card = card
        self._autoscaler = autoscaler
        self._awake: Awake | None = None
        self._changing = asyncio.Lock()
        self._in_flight = 0
        self._waiting = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.cold_start_s: float | None = None

    @property
    def is_awake(self) -> bool:
        """Whether there are devices."""
        return self._awake is not None

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
                awake, self._awake = self._awake, None
                await awake.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; see the class."""
        if scope["type"] != "http":
            return
        path = scope["path"].rstrip("/")
        if path == _SCALE:
            await self._scale(scope, receive, send)
        elif scope["method"] in {"GET", "HEAD"}:
            # Who only looks keeps nothing awake and waits for nothing, also while the pool ends.
            look = self._look(path) if self._awake is None else self._awake.app
            await look(scope, receive, send)
        else:
            await self._pass_on(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send, devices: int | None = None) -> None:
        try:
            app = await self._enter(devices)
        except SlaragError as error:
            await failure(503, f"the pool did not start: {error}", "overloaded", code=error.code)(scope, receive, send)
            return
        try:
            await app(scope, receive, send)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()

    async def _enter(self, devices: int | None) -> ASGIApp:
        """From now on the pool stays until the request is done; nothing ends it between its start and this."""
        self._waiting += 1
        try:
            async with self._changing:
                awake = await self._started(devices)
                self._in_flight += 1
                self._idle.clear()
                return awake.app
        finally:
            self._waiting -= 1

    async def _started(self, devices: int | None) -> Awake:
        if self._awake is None:
            started = time.monotonic()
            self._awake = await self._start(devices)
            self.cold_start_s = time.monotonic() - started
        return self._awake

    async def _scale(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body_of(receive)
        target = _target_in(body)
        if target == 0:
            await self.end()
            await JSONResponse({"message": "Scaled to 0 data parallel engines"})(scope, receive, send)
        else:
            await self._pass_on(scope, _replayed(body, receive), send, devices=target)

    def _look(self, path: str) -> Response:
        if path == "/health":
            return Response(status_code=200)
        if path == "/metrics":
            return PlainTextResponse(self._metrics())
        if path == "/load":
            return JSONResponse(self._load())
        if path == "/pool":
            return JSONResponse(self._load() | {"workers": [], "resizes": [], "autoscale": self._autoscale()})
        if path == "/v1/models" and self._card is not None:
            return JSONResponse({"object": "list", "data": [self._card]})
        reply = failure(503, "the pool has no device now; a request starts it", "overloaded")
        reply.headers["Retry-After"] = _RETRY_SECONDS
        return reply

    def _load(self) -> dict[str, Any]:
        return {
            "model": self._card and self._card["id"],
            "devices": 0,
            "running": 0,
            "waiting": self._waiting,
            "standbys": 0,
            "kv_cache_used": 0.0,
            "seconds_per_passage": None,
            "replaced_workers": 0,
            "is_resizing": self._changing.locked(),
            "simulated": None,
        }

    def _autoscale(self) -> dict[str, Any] | None:
        return self._autoscaler and self._autoscaler.status()

    def _metrics(self) -> str:
        gauges = {
            "vllm:num_requests_running": 0,
            "vllm:num_requests_waiting": self._waiting,
            "slarag:devices": 0,
            "slarag:cold_start_seconds": self.cold_start_s or 0.0,
        }
        return "".join(f"# TYPE {name} gauge\n{name} {value:g}\n" for name, value in gauges.items())


async def _body_of(receive: Receive) -> bytes:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return body


def _target_in(body: bytes) -> int | None:
    """The number of devices that a well-formed body asks for; None for a dry run, which is the pool's to answer."""
    try:
        asked: dict[str, Any] = json.loads(body)
        target = None if asked.get("dry_run") else asked.get("new_data_parallel_size")
    except (ValueError, AttributeError, RecursionError):
        return None
    return target if isinstance(target, int) and not isinstance(target, bool) else None


def _replayed(body: bytes, receive: Receive) -> Receive:
    """What was read, once more, and then what comes."""
    messages: list[MutableMapping[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed
