"""Worker processes: forked from the zygote, watched through a board, ended through process descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import mmap
import os
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from ..errors import WorkerGoneError
from ..worker.beat import BEAT
from .channel import Channel
from .strays import Strays
from .zygote import ZygoteProcess, is_stopped

_BOARD_BYTES = 1 << 16


@dataclass(slots=True, eq=False)
class WorkerProcess:
    """A worker. handle: a descriptor of the process. slot: where it shows on the board that it is alive."""

    pid: int
    handle: int
    slot: int
    channel: Channel
    _movements: Channel | None = None
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
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        self._gone.set()
        self.channel.close()
        if self._movements is not None:
            self._movements.close()

    def open_movements(self) -> socket.socket:
        """Make the connection that `move` uses; returns the worker's end, which goes to it with its device."""
        ours, theirs = socket.socketpair()
        self._movements = Channel(ours, f"worker {self.pid}", lambda: None)
        return theirs

    async def move(self, call: str, **fields: Any) -> None:
        """A request about experts that come, switch or go, which it hears while it computes: see `worker.movements`.

        Raises `WorkerGoneError`.
        """
        if self._movements is None:
            raise WorkerGoneError(f"worker {self.pid} has no device")
        await self._movements.request(call, **fields)


class Processes:
    """The zygote and the workers that came from it. A zygote that is lost is replaced; its workers go on.

    on_end is called with each worker whose connection ends. strays: what earlier zygotes left behind.
    """

    def __init__(self, zygote: ZygoteProcess, board: int) -> None:
        self.on_end: Callable[[WorkerProcess], None] = lambda _: None
        self._zygote = zygote
        self._board_file = board
        self._board = mmap.mmap(board, _BOARD_BYTES)
        self._slots = list(range(_BOARD_BYTES // BEAT.size - 1, -1, -1))
        self._lock = asyncio.Lock()
        self.strays = Strays()

    @classmethod
    async def start(cls) -> Processes:
        """Start the zygote and wait until it has imported everything; raises `WorkerGoneError`."""
        board = os.memfd_create("slarag-board", os.MFD_CLOEXEC)
        os.ftruncate(board, _BOARD_BYTES)
        try:
            return cls(await ZygoteProcess.start(board), board)
        except BaseException:
            os.close(board)
            raise

    async def fork(self) -> WorkerProcess:
        """Make a booted worker without memory; raises `WorkerGoneError`."""
        async with self._lock:
            slot = self._slots.pop()
            try:
                return await self._fork(slot)
            except BaseException:
                self._slots.append(slot)
                raise

    async def boot(self) -> WorkerProcess:
        """The same from a zygote that is started now, in place of the one there was."""
        async with self._lock:
            await self._restart_zygote()
        return await self.fork()

    async def _fork(self, slot: int) -> WorkerProcess:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                pid, handle = await asyncio.to_thread(self._zygote.fork, theirs, slot)
        except BaseException:
            ours.close()
            raise
        BEAT.pack_into(self._board, slot * BEAT.size, time.monotonic())
        channel = Channel(ours, f"worker {pid}", lambda: self.on_end(worker))
        worker = WorkerProcess(pid, handle, slot, channel)
        return worker

    async def renew(self) -> None:
        """Start another zygote if this one ended, is stopped or did not answer; raises `WorkerGoneError`."""
        async with self._lock:
            if not self._zygote.is_well:
                await self._restart_zygote()

    async def _restart_zygote(self) -> None:
        await self._zygote.aclose()
        self.strays.look_for(self.zygote_pid)
        self._zygote = await ZygoteProcess.start(self._board_file)

    def is_stuck(self, worker: WorkerProcess, hang_seconds: float) -> bool:
        """Whether a worker is stopped, or has given no sign of life for `hang_seconds`."""
        silent = time.monotonic() - BEAT.unpack_from(self._board, worker.slot * BEAT.size)[0]
        return silent > hang_seconds or is_stopped(worker.pid)

    @property
    def can_fork(self) -> bool:
        """Whether the zygote runs."""
        return self._zygote.is_well

    @property
    def zygote_pid(self) -> int:
        """The zygote's number."""
        return self._zygote.process.pid

    async def end(self, worker: WorkerProcess) -> None:
        """Kill a worker and wait until nothing of it runs."""
        worker.kill()
        await worker.gone()
        self._slots.append(worker.slot)

    async def aclose(self) -> None:
        """End the zygote. The workers must be gone."""
        await self._zygote.aclose()
        self.strays.look_for(self.zygote_pid)
        self.strays.reap()
        self._board.close()
        os.close(self._board_file)
