"""The preloaded process that workers are forked from, seen from the coordinator."""

from __future__ import annotations

import asyncio
import os
import select
import socket
import subprocess
import time
from dataclasses import dataclass

from .. import wire
from ..errors import WorkerGoneError
from ..kernels.build import compiled
from ..memory import libc
from ..spawn import spawn

_FORK_SECONDS = 15.0
_LOOK_SECONDS = 0.2
_START_SECONDS = 120.0


class _Adoption:
    """Whether this process adopts workers: as long as a zygote runs."""

    zygotes = 0

    @classmethod
    def change(cls, by: int) -> None:
        cls.zygotes += by
        libc.adopt_orphans(cls.zygotes > 0)


@dataclass(slots=True)
class ZygoteProcess:
    """One zygote. Its workers are children of this process and outlive it. The caller sees to it that calls take
    turns.
    """

    process: subprocess.Popen[bytes]
    connection: socket.socket
    _is_answering: bool = True
    _is_closed: bool = False

    @classmethod
    async def start(cls, board: int) -> ZygoteProcess:
        """Start it and wait until it has imported everything; raises `WorkerGoneError`."""
        # Here, because the first time on a machine it takes longer than a process may take to start.
        await asyncio.to_thread(compiled)
        _Adoption.change(1)
        ours, theirs = socket.socketpair()
        ours.settimeout(_START_SECONDS)
        made: ZygoteProcess | None = None
        try:
            with theirs:
                arguments = ["--socket", str(theirs.fileno()), "--board", str(board)]
                made = cls(spawn("slarag.backends.elastic.worker.zygote", arguments, [theirs.fileno(), board]), ours)
            await asyncio.to_thread(wire.receive, ours)
        except BaseException as error:
            if made is not None:
                await made.aclose()
            else:
                ours.close()
                _Adoption.change(-1)
            if isinstance(error, (EOFError, OSError)):
                raise WorkerGoneError("the zygote did not start", remedy="look for its error above") from error
            raise
        ours.settimeout(_FORK_SECONDS)
        return made

    def fork(self, control: socket.socket, slot: int) -> tuple[int, int]:
        """A new worker's number and descriptor; blocks. Raises `WorkerGoneError` when there is none in time."""
        try:
            wire.send(self.connection, {"slot": slot}, [control.fileno()])
            self._await_answer()
            message, files = wire.receive(self.connection)
        except (EOFError, OSError) as error:
            self._is_answering = False
            raise WorkerGoneError("the zygote is gone or does not answer") from error
        if "error" in message:
            raise WorkerGoneError(f"no worker could be forked: {message['error']}", remedy="free memory or processes")
        return message["pid"], files[0]

    def _await_answer(self) -> None:
        """One that is merely slow, on a busy machine, is waited for: starting another would take longer still."""
        answer = select.poll()
        answer.register(self.connection.fileno(), select.POLLIN)
        give_up = time.monotonic() + _FORK_SECONDS
        while not answer.poll(_LOOK_SECONDS * 1000):
            if is_stopped(self.process.pid) or time.monotonic() > give_up:
                raise TimeoutError

    @property
    def is_well(self) -> bool:
        """Whether it runs, is not stopped, and has answered so far."""
        return self._is_answering and self.process.poll() is None and not is_stopped(self.process.pid)

    async def aclose(self) -> None:
        """End it, stopped or not. Twice is fine: one that could not be replaced is ended again."""
        if self._is_closed:
            return
        self._is_closed = True
        self.connection.close()
        self.process.kill()
        await asyncio.to_thread(self.process.wait)
        _Adoption.change(-1)


def is_stopped(child: int) -> bool:
    """Whether a child of this process is stopped by a signal."""
    try:
        return os.waitid(os.P_PID, child, os.WSTOPPED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return False
