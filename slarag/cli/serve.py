"""`slarag serve`: the HTTP gateway over one index."""

from __future__ import annotations

import ipaddress
import os
import socket
from contextlib import suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated

import typer

from ..sla.errors import ConfigurationError, RunError
from .failures import missing_extra
from .options import CalibrationFile, IndexFolder, ProfileName, ReadingPool
from .streams import say

if TYPE_CHECKING:
    from ..engine import Engine

TOKEN = "SLARAG_TOKEN"
_BACKLOG = 2048


def serve(
    index: IndexFolder,
    profile: ProfileName = "balanced",
    calibration: CalibrationFile = None,
    pool: ReadingPool = None,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port to listen on.")] = 8080,
) -> None:
    """Serve an index over HTTP.

    POST /v1/ask and /v1/explain, GET /v1/profiles and /health. Callers need `Authorization: Bearer ...` when
    SLARAG_TOKEN is set, and it has to be set to listen beyond this machine.
    """
    token = os.environ.get(TOKEN) or None
    if not is_loopback(host) and token is None:
        raise ConfigurationError(
            f"{host} can be reached from other machines", remedy=f"set {TOKEN} to a secret, or keep --host 127.0.0.1"
        )
    require_server()
    from ..engine import Engine
    from ..sla.profile import load_profile

    contract = load_profile(profile)
    with (
        listening(host, port) as listener,
        Engine.open(index, pool=pool, profile=contract, calibration=calibration) as engine,
    ):
        say(f"serving {index} under {contract.name!r} on http://{host}:{listener.getsockname()[1]}")
        _run(engine, host, listener, token)


def require_server() -> None:
    """Raise `ConfigurationError` where the libraries of an HTTP server are not installed."""
    for module in ("fastapi", "uvicorn"):
        if find_spec(module) is None:
            raise missing_extra(module, "serve")


def listening(host: str, port: int) -> socket.socket:
    """A socket that listens there; raises `RunError`, before any model is loaded, where it cannot."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise RunError(
            f"cannot listen on {host}:{port}: {error.strerror or error}", remedy="give another --port or --host"
        ) from None
    # asyncio does this only where a socket names its protocol. Without it an answer waits for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _run(engine: Engine, host: str, listener: socket.socket, token: str | None) -> None:
    import uvicorn

    from ..server import create_app

    hosts = [host, "localhost", "127.0.0.1", "[::1]"] if is_loopback(host) else ["*"]
    with suppress(KeyboardInterrupt):  # how people end it
        app = create_app(engine, token=token, hosts=hosts)
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
