"""A process that has everything imported, and forks workers from itself in milliseconds.

It ends when its starter's connection ends; its workers end with it. It computes nothing, because a process that has
started threads must not be forked.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import mmap
import os
import signal
import socket
import threading

import torch

from .. import wire
from ..memory import libc
from .beat import beat
from .worker import Worker


class Zygote:
    """Forks workers.

    board: a shared file with a time (monotonic seconds) per slot, where workers show they are alive.
    """

    def __init__(self, connection: socket.socket, board: mmap.mmap) -> None:
        self._connection = connection
        self._board = board
        self._children: set[int] = set()

    def serve(self) -> None:
        """Fork a worker per message until the starter is gone. Each message brings the worker's control socket."""
        signal.signal(signal.SIGCHLD, self._collect)
        with contextlib.suppress(EOFError, OSError):
            while True:
                message, files = wire.receive(self._connection)
                self._fork(files[0], message["slot"])
        self._end_workers()

    def _fork(self, control: int, slot: int) -> None:
        """The starter gets a descriptor of the process: unlike a number, it can never mean another process."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if pid == 0:
            self._become_worker(control, slot)
        self._children.add(pid)
        handle = os.pidfd_open(pid)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        os.close(control)
        wire.send(self._connection, {"pid": pid}, [handle])
        os.close(handle)

    def _collect(self, *_: object) -> None:
        """Workers that ended leave nothing behind, not even an entry in the system's table."""
        for pid in list(self._children):
            if os.waitpid(pid, os.WNOHANG)[0]:
                self._children.discard(pid)

    def _end_workers(self) -> None:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)

    def _become_worker(self, control: int, slot: int) -> None:
        """In the child; does not return."""
        status = 1
        try:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            libc.die_with_parent(signal.SIGKILL)
            self._connection.close()
            threading.Thread(target=beat, args=(self._board, slot), daemon=True).start()
            Worker(socket.socket(fileno=control)).run()
            status = 0
        except Exception:
            logging.getLogger(__name__).exception("a worker failed")
        finally:
            os._exit(status)


def _main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--board", type=int, required=True)
    args = parser.parse_args()
    libc.die_with_parent(signal.SIGKILL)
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    connection = socket.socket(fileno=args.socket)
    wire.send(connection, {"pid": os.getpid()})
    Zygote(connection, mmap.mmap(args.board, 0)).serve()


if __name__ == "__main__":
    _main()
