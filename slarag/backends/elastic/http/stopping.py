"""A pool that is told to stop: it finishes what runs, says that it stops, and takes nothing new."""

from __future__ import annotations

import asyncio
from types import FrameType

import uvicorn
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from .failures import failure


class StoppingApp:
    """Serves `app` until it is told to stop. Then `/health` and requests for work get 503; who looks is answered."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._in_flight = 0
        self._is_stopping = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def stop(self) -> None:
        """From now on take nothing in; returns when nothing runs any more."""
        self._is_stopping = True
        await self._idle.wait()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; see the class."""
        if scope["type"] != "http" or scope["method"] != "POST":
            stops = self._is_stopping and scope.get("path") == "/health"
            await (Response(status_code=503) if stops else self._app)(scope, receive, send)
        elif self._is_stopping:
            await failure(503, "the pool is shutting down; ask another", "overloaded")(scope, receive, send)
        else:
            await self._counted(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._in_flight += 1
        self._idle.clear()
        try:
            await self._app(scope, receive, send)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._idle.set()


class StoppingServer(uvicorn.Server):
    """Listens until what runs is finished, so that who asks meanwhile is told; a second signal ends it at once.

    is_forced: whether there was a second one.
    """

    def __init__(self, app: StoppingApp, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopping_app = app
        self._is_told = False
        self.is_forced = False
        self._stopping: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """On the first signal finish what runs; on any other end it."""
        if self._is_told:
            self.is_forced = self.should_exit = self.force_exit = True
            return
        self._is_told = True
        self._loop.call_soon_threadsafe(self._begin_to_stop)

    def _begin_to_stop(self) -> None:
        self._stopping = self._loop.create_task(self._stop())

    async def _stop(self) -> None:
        await self._stopping_app.stop()
        self.should_exit = True
