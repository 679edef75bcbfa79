"""Runs a pool's HTTP until it is told to stop; then what runs is finished first."""

from __future__ import annotations

import secrets
import signal
import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace

import uvicorn
from starlette.types import ASGIApp

from ....sla.errors import ConfigurationError
from ..cluster.options import PoolOptions
from ..cluster.reader_options import ReaderOptions
from ..device_layout import DeviceLayout
from ..serve.engine import PoolEngine
from ..serve.reading import ReadingEngine
from .app import build_app, card_of
from .autoscale import Autoscaler
from .guard import Guard
from .state import Gauges
from .stopping import StoppingApp, StoppingServer
from .waking import Awake, WakingApp

READER = "reader"
"""The name under which the embedded reader is served."""


async def serve_pool(  # noqa: PLR0913 - one parameter a setting
    options: PoolOptions,
    *,
    token: str | None,
    host: str = "127.0.0.1",
    port: int = 8600,
    max_waiting: int = 1024,
    may_sleep: bool = False,
    autoscaler: Autoscaler | None = None,
    on_ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Start a pool and serve it on `host` and `port`; returns after SIGINT or SIGTERM, once all answers are out.

    options: `ReaderOptions` for the embedded reader. token: what `/scale_elastic_ep` asks for; None closes it. port: 0
    takes a free one. may_sleep: it can be scaled to no device, and the next request starts it again. autoscaler: sizes
    it while it serves. on_ready: told the pool's address. Raises `ConfigurationError` for a port that is taken or more
    devices than the model has experts, and what `Cluster.start` does.
    """
    layout = _checked_layout(options)
    with bound(host, port) as listening:
        inner = token or secrets.token_urlsafe()  # for the autoscaler, where nobody else may resize
        app = WakingApp(
            lambda devices: _awake(options, devices, inner, max_waiting, autoscaler, lambda: _cold_start_of(app)),
            card=card_of(options, _name_of(options)),
            layout=layout,
            autoscaler=autoscaler,
        )
        await app.wake()
        # uvicorn raises the signals again that it stopped for; by then the pool is ending on its own.
        before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            on_ready(f"http://{_shown(host)}:{listening.getsockname()[1]}")
            served = StoppingApp(Guard(app if may_sleep else app.app, token))
            server = StoppingServer(served, _config(served))
            async with _controlled(app, autoscaler, inner, options.devices):
                await server.serve([listening])
            if server.is_forced:
                await app.cut_off()
        finally:
            await app.end()
            for number, handler in before.items():
                signal.signal(number, handler)


def _checked_layout(options: PoolOptions) -> DeviceLayout:
    """The devices' layout: what cannot be served is known before any process starts."""
    layout = options.layout()
    if options.devices > layout.max_devices:
        raise ConfigurationError(
            f"a pool of {options.devices} devices cannot be", remedy=f"ask for 1 to {layout.max_devices} devices"
        )
    return layout


def _config(app: ASGIApp) -> uvicorn.Config:
    return uvicorn.Config(app, log_level="warning", access_log=False)


def _controlled(
    app: WakingApp, autoscaler: Autoscaler | None, token: str, devices: int
) -> AbstractAsyncContextManager[None]:
    if autoscaler is None:
        return nullcontext()
    return autoscaler.controlling(app, token=token, devices=devices, cold_start_s=app.cold_start_s)


def _cold_start_of(app: WakingApp) -> dict[str, float]:
    return {} if app.cold_start_s is None else {"slarag:cold_start_seconds": app.cold_start_s}


async def _awake(
    options: PoolOptions,
    devices: int | None,
    token: str,
    max_waiting: int,
    autoscaler: Autoscaler | None,
    gauges: Gauges,
) -> Awake:
    engine = await _started(replace(options, devices=devices or options.devices), max_waiting)
    if autoscaler is not None:
        await autoscaler.calibrate(engine)

    async def close() -> None:
        try:
            await engine.resizing.settled()  # one that took longer than its call goes on by itself
            await engine.drain()
        finally:
            await engine.aclose()

    made = build_app(engine, model=_name_of(options), token=token, autoscaler=autoscaler, more_gauges=gauges)
    return Awake(made, close, pool=engine, describe=made.openapi)


async def _started(options: PoolOptions, max_waiting: int) -> PoolEngine | ReadingEngine:
    if isinstance(options, ReaderOptions):
        return await ReadingEngine.start(options, max_waiting=max_waiting)
    return await PoolEngine.start(options, max_waiting=max_waiting)


def _name_of(options: PoolOptions) -> str:
    return READER if isinstance(options, ReaderOptions) else options.model.resolve().name


def bound(host: str, port: int) -> socket.socket:
    """Listen now: a port that is taken is known before the model is loaded. Raises `ConfigurationError`."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        raise ConfigurationError(
            f"cannot listen on {host!r}, port {port}: {error}", remedy="stop what listens there, or choose another port"
        ) from error
    # asyncio does this only where a socket names its protocol. Without it an answer waits for an acknowledgement.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
