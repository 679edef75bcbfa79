"""A pool of readers that is started here and ends with its starter."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import select
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..sla.errors import BackendUnavailableError

_ROOT = Path(__file__).resolve().parents[2]
_START_S = 300.0
_END_S = 20.0


@dataclass(frozen=True, slots=True)
class PoolProcess:
    """A running pool. url: where it serves, on loopback. token: of its control plane."""

    url: str
    token: str
    process: subprocess.Popen[str]

    @classmethod
    def start(cls, *, devices: int = 1, threads: int = 1, standbys: int = 1, model: Path | None = None) -> PoolProcess:
        """Start a pool of `devices` with `threads` each and wait until it serves, blocking.

        model: a reader's folder, the shipped one by default. Raises `BackendUnavailableError` with what it says.
        """
        token = secrets.token_urlsafe(24)
        sizes = {"devices": devices, "threads": threads, "standbys": standbys}
        arguments = [text for name, value in sizes.items() for text in (f"--{name}", str(value))]
        arguments += [] if model is None else ["--model", str(model)]
        path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        process = subprocess.Popen(
            [sys.executable, "-m", "slarag.backends.elastic.http.process", *arguments],
            env={**os.environ, "PYTHONPATH": path, "SLARAG_POOL_TOKEN": token},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            return cls(_url(_first_message(process)), token, process)
        except BaseException:
            _end(process)
            raise

    def close(self) -> None:
        """Let it finish what runs and end; twice is fine."""
        _end(self.process)


def _first_message(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], _START_S)
    line = process.stdout.readline() if ready else ""
    try:
        return json.loads(line)
    except ValueError:
        return {"error": "it did not start" if not ready else f"it ended with status {process.poll()}"}


def _url(message: dict[str, Any]) -> str:
    if "url" not in message:
        raise BackendUnavailableError(
            f"the pool of readers did not start: {message.get('error')}",
            remedy=str(message.get("remedy") or "look for its message above"),
            backend="pool",
        )
    return str(message["url"])


def _end(process: subprocess.Popen[str]) -> None:
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
    try:
        process.wait(_END_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
