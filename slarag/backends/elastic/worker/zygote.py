"""A process that has everything imported, and forks workers from itself in milliseconds.

Its workers are no children of it but of its starter (which is a subreaper, see `cluster.zygote`): they end with the
starter, and go on when this process is killed or replaced. It computes nothing, because a process that has started
threads must not be forked.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import logging
import mmap
import os
import signal
import socket
import struct
import threading
import time
from typing import NoReturn

import torch

from .. import wire
from ..kernels.build import library
from ..memory import libc
from .beat import beat
from .worker import Worker

_PID = struct.Struct("<i")
_ADOPTED_SECONDS = 0.0005


class Zygote:
    """Forks workers.

    board: a shared file with a time (monotonic seconds) per slot, where workers show they are alive.
    """

    def __init__(self, connection: socket.socket, board: mmap.mmap) -> None:
        self._connection = connection
        self._board = board
        self._starter = os.getppid()

    def serve(self) -> None:
        """Fork a worker per message until the starter is gone. Each message brings the worker's control socket."""
        with contextlib.suppress(EOFError, OSError):
            while True:
                message, files = wire.receive(self._connection)
                self._fork(files[0], message["slot"])

    def _fork(self, control: int, slot: int) -> None:
        """The starter gets a descriptor of the process: unlike a number, it can never mean another process."""
        pid = self._fork_twice(control, slot)
        os.close(control)
        if pid is None:
            wire.send(self._connection, {"error": "the system refuses another process"})
            return
        handle = os.pidfd_open(pid)
        wire.send(self._connection, {"pid": pid}, [handle])
        os.close(handle)

    def _fork_twice(self, control: int, slot: int) -> int | None:
        """The child in between ends at once, so that the starter adopts the worker. None when the system refuses."""
        reading, writing = os.pipe()
        with os.fdopen(reading, "rb") as told, contextlib.suppress(OSError):
            try:
                between = os.fork()
                if between == 0:
                    told.close()
                    self._become_between(control, slot, writing)
            finally:
                os.close(writing)
            os.waitpid(between, 0)
            data = told.read()
            return _PID.unpack(data)[0] if data else None
        return None

    def _become_between(self, control: int, slot: int, writing: int) -> NoReturn:
        """In the child; does not return."""
        status = 1
        try:
            between = os.getpid()
            worker = os.fork()
            if worker == 0:
                os.close(writing)
                self._become_worker(control, slot, between)
            os.write(writing, _PID.pack(worker))
            status = 0
        finally:
            os._exit(status)

    def _become_worker(self, control: int, slot: int, between: int) -> NoReturn:
        """In the worker; does not return."""
        status = 1
        try:
            self._connection.close()
            self._live_with_starter(between)
            threading.Thread(target=beat, args=(self._board, slot), daemon=True).start()
            Worker(socket.socket(fileno=control)).run()
            status = 0
        except Exception:
            logging.getLogger(__name__).exception("a worker failed")
        finally:
            os._exit(status)

    def _live_with_starter(self, between: int) -> None:
        """Once adopted, end when the starter does, also if it is gone already."""
        while os.getppid() == between:
            time.sleep(_ADOPTED_SECONDS)
        libc.die_with_parent(signal.SIGKILL)
        if os.getppid() != self._starter:
            os._exit(1)


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--board", type=int, required=True)
    args = parser.parse_args()
    libc.die_with_parent(signal.SIGKILL)
    # Who started this may take short turns; workers compute.
    libc.take_short_turns(False)
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    library()
    # What is here is here to stay: workers that looked through it for garbage would copy all of its memory.
    gc.collect()
    gc.freeze()
    connection = socket.socket(fileno=args.socket)
    wire.send(connection, {"pid": os.getpid()})
    Zygote(connection, mmap.mmap(args.board, 0)).serve()


if __name__ == "__main__":
    _main()
