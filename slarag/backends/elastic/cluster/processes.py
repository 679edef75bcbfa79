"""Worker processes: forked from the zygote, watched through a board, ended through process descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from .. import wire
from ..errors import WorkerGoneError
from ..spawn import spawn
from ..worker.beat import BEAT
from .channel import Channel

_BOARD_BYTES = 1 << 16


@dataclass(slots=True, eq=False)
class WorkerProcess:
    """A worker. handle: a descriptor of the process. slot: where it shows on the board that it is alive."""

    pid: int
    handle: int
    slot: int
    channel: Channel
    _gone: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        asyncio.get_running_loop().add_reader(self.handle, self._on_gone)

    def kill(self) -> None:
        """End it now, stopped or not. Nothing of it runs any more once `gone` returns."""
        if not self._gone.is_set():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.handle, signal.SIGKILL)

    async def gone(self) -> None:
        """Wait until the process has ended."""
        await self._gone.wait()

    def _on_gone(self) -> None:
        asyncio.get_running_loop().remove_reader(self.handle)
        os.close(self.handle)
        self._gone.set()
        self.channel.close()


class Processes:
    """The zygote and the workers that came from it."""

    def __init__(self, zygote: subprocess.Popen[bytes], connection: socket.socket, board: int) -> None:
        self._zygote = zygote
        self._connection = connection
        self._board_file = board
        self._board = mmap.mmap(board, _BOARD_BYTES)
        self._slots = list(range(_BOARD_BYTES // BEAT.size - 1, -1, -1))
        self._lock = asyncio.Lock()

    @classmethod
    async def start(cls) -> Processes:
        """Start the zygote and wait until it has imported everything."""
        board = os.memfd_create("slarag-board", os.MFD_CLOEXEC)
        os.ftruncate(board, _BOARD_BYTES)
        ours, theirs = socket.socketpair()
        with theirs:
            arguments = ["--socket", str(theirs.fileno()), "--board", str(board)]
            zygote = spawn("slarag.backends.elastic.worker.zygote", arguments, [theirs.fileno(), board])
        await asyncio.to_thread(_receive, ours)
        return cls(zygote, ours, board)

    async def fork(self, on_end: Callable[[], None]) -> WorkerProcess:
        """Make a standby; raises `WorkerGoneError` when the zygote is gone. on_end: called when its connection ends."""
        ours, theirs = socket.socketpair()
        async with self._lock:
            slot = self._slots.pop()
            with theirs:
                try:
                    message, files = await asyncio.to_thread(self._ask, theirs, slot)
                except BaseException:
                    ours.close()
                    self._slots.append(slot)
                    raise
        BEAT.pack_into(self._board, slot * BEAT.size, time.monotonic())
        channel = Channel(ours, f"worker {message['pid']}", on_end)
        return WorkerProcess(message["pid"], files[0], slot, channel)

    def silent_seconds(self, worker: WorkerProcess) -> float:
        """For how long a worker has given no sign of life."""
        return time.monotonic() - BEAT.unpack_from(self._board, worker.slot * BEAT.size)[0]

    async def end(self, worker: WorkerProcess) -> None:
        """Kill a worker and wait until nothing of it runs."""
        worker.kill()
        await worker.gone()
        self._slots.append(worker.slot)

    async def aclose(self) -> None:
        """End the zygote; its workers end with it."""
        self._connection.close()
        await asyncio.to_thread(self._zygote.wait)
        self._board.close()
        os.close(self._board_file)

    def _ask(self, control: socket.socket, slot: int) -> tuple[wire.Message, list[int]]:
        try:
            wire.send(self._connection, {"slot": slot}, [control.fileno()])
            return wire.receive(self._connection)
        except (EOFError, OSError) as error:
            raise WorkerGoneError("the zygote is gone", remedy="start the pool again") from error


def _receive(connection: socket.socket) -> wire.Message:
    try:
        return wire.receive(connection)[0]
    except (EOFError, OSError) as error:
        raise WorkerGoneError("the zygote did not start", remedy="look for its error above") from error
