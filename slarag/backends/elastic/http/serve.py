"""Runs a pool's HTTP until it is told to stop; then what runs is finished first."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from dataclasses import replace

import uvicorn

from ....sla.errors import ConfigurationError
from ..cluster.options import PoolOptions
from ..cluster.reader_options import ReaderOptions
from ..serve.engine import PoolEngine
from ..serve.reading import ReadingEngine
from .app import build_app
from .guard import Guard
from .waking import Awake, WakingApp

READER = "reader"
"""The name under which the embedded reader is served."""


async def serve_pool(
    options: PoolOptions,
    *,
    token: str | None,
    host: str = "127.0.0.1",
    port: int = 8600,
    max_waiting: int = 1024,
    may_sleep: bool = False,
    on_ready: Callable[[str], None] = lambda _: None,
) -> None:
    """Start a pool and serve it on `host` and `port`; returns after SIGINT or SIGTERM, once all answers are out.

    options: `ReaderOptions` for the embedded reader. token: what `/scale_elastic_ep` asks for; None closes it. port: 0
    takes a free one. may_sleep: it can be scaled to no device, and the next request starts it again. on_ready: told the
    pool's address. Raises `ConfigurationError` for a port that is taken, and what `Cluster.start` does.
    """
    with _bound(host, port) as listening:
        app = WakingApp(lambda devices: _awake(options, devices, token, max_waiting))
        await app.wake()
        # uvicorn raises the signals again that it stopped for; by then the pool is ending on its own.
        before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            on_ready(f"http://{_shown(host)}:{listening.getsockname()[1]}")
            served = Guard(app, token) if may_sleep else app.app
            await uvicorn.Server(uvicorn.Config(served, log_level="warning", access_log=False)).serve([listening])
        finally:
            await app.end()
            for number, handler in before.items():
                signal.signal(number, handler)


async def _awake(options: PoolOptions, devices: int | None, token: str | None, max_waiting: int) -> Awake:
    engine, name = await _started(replace(options, devices=devices or options.devices), max_waiting)

    async def close() -> None:
        try:
            await engine.drain()
        finally:
            await engine.aclose()

    return Awake(build_app(engine, model=name, token=token), close)


async def _started(options: PoolOptions, max_waiting: int) -> tuple[PoolEngine | ReadingEngine, str]:
    options.layout()  # a folder that cannot be served is known before any process starts
    if isinstance(options, ReaderOptions):
        return await ReadingEngine.start(options, max_waiting=max_waiting), READER
    return await PoolEngine.start(options, max_waiting=max_waiting), options.model.resolve().name


def _bound(host: str, port: int) -> socket.socket:
    """Listen now: a port that is taken is known before the model is loaded."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=1024)
    except (OSError, OverflowError) as error:
        raise ConfigurationError(
            f"cannot listen on {host!r}, port {port}: {error}", remedy="stop what listens there, or choose another port"
        ) from error


def _shown(host: str) -> str:
    return f"[{host}]" if ":" in host else host
