"""Runs a pool's HTTP until it is told to stop; then what runs is finished first."""

from __future__ import annotations

import signal

import uvicorn

from ..cluster.options import PoolOptions
from ..serve.engine import PoolEngine
from .app import build_app


async def serve_pool(
    options: PoolOptions, *, token: str, host: str = "127.0.0.1", port: int = 8600, max_waiting: int = 1024
) -> None:
    """Start a pool and serve it on `host` and `port`; returns after SIGINT or SIGTERM, once all answers are out.

    token: what `/scale_elastic_ep` asks for. Raises what `PoolEngine.start` does.
    """
    engine = await PoolEngine.start(options, max_waiting=max_waiting)
    # uvicorn raises the signals again that it stopped for; by then the pool is ending on its own.
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        app = build_app(engine, model=options.model.name, token=token)
        config = uvicorn.Config(app, host=host, port=port, log_level="warning", access_log=False)
        await uvicorn.Server(config).serve()
        await engine.drain()
    finally:
        await engine.aclose()
        for number, handler in before.items():
            signal.signal(number, handler)
