"""The process around the memory manager: serves its calls over inherited UNIX sockets.

It ends when the connection that it was started with ends, and all memory with it. Further connections arrive over that
one: a worker attaches to its device without a name in any file system.
"""

from __future__ import annotations

import argparse
import signal
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ....sla.errors import SlaragError
from .. import wire
from ..models.layout import Part
from . import libc
from .arena import Region
from .manager import MemoryManager, Placed

Reply = tuple[wire.Message, list[int]]
_TRIM_SECONDS = 1.0
"""Spare memory goes back to the system after so long: until then the next resize has it without asking for it."""


class MemoryService:
    """Answers messages with a manager. Each `_do_` method is a call; its keyword arguments are the message's fields."""

    def __init__(self, manager: MemoryManager) -> None:
        self._manager = manager

    def serve(self, connection: socket.socket) -> None:
        """Answer one connection until it ends."""
        with connection:
            while True:
                try:
                    message, files = wire.receive(connection)
                    reply, handed_out = self._answer(message, files)
                    wire.send(connection, reply, handed_out)
                except (EOFError, OSError):
                    return

    def _answer(self, message: wire.Message, files: list[int]) -> Reply:
        """A message may have an `id`, which its reply has too."""
        number = {"id": message.pop("id")} if "id" in message else {}
        reply, handed_out = self._call(message, files)
        return number | reply, handed_out

    def _call(self, message: wire.Message, files: list[int]) -> Reply:
        call: Callable[..., Reply] = getattr(self, f"_do_{message.pop('call')}")
        try:
            return call(**message, **({"files": files} if files else {}))
        except SlaragError as error:
            return {"error": error.code, "message": error.message, "remedy": error.remedy}, []
        except (OSError, ValueError, LookupError) as error:
            return {"error": "memory_service", "message": f"{type(error).__name__}: {error}"}, []

    def _do_connect(self, files: list[int]) -> Reply:
        """Serve the other end of the socket that comes with this call."""
        connection = socket.socket(fileno=files[0])
        threading.Thread(target=self.serve, args=(connection,), daemon=True).start()
        return {}, []

    def _do_add_device(self, device: int, sizes: dict[str, int]) -> Reply:
        self._manager.add_device(device)
        try:
            self._manager.allocate(device, sizes)
        except BaseException:
            self._manager.remove_device(device)
            raise
        return {}, []

    def _do_remove_device(self, device: int) -> Reply:
        self._manager.remove_device(device)
        return {}, []

    def _do_attach(self, device: int) -> Reply:
        regions = {name: _encode(region) for name, region in self._manager.regions(device).items()}
        return {"regions": regions, "page_bytes": self._manager.page_bytes}, [self._manager.file(device)]

    def _do_allocate(self, device: int, sizes: dict[str, int], after: dict[str, tuple[int, str]]) -> Reply:
        made = self._manager.allocate(device, sizes, after)
        return {"regions": {name: _encode(region) for name, region in made.items()}}, []

    def _do_release(self, device: int, names: list[str]) -> Reply:
        self._manager.release(device, names)
        return {}, []

    def _do_load(self, folder: str, placed: list[list[Any]], dtype: str) -> Reply:
        items = [
            Placed(Part(source, tuple(shape), 0), device, region, offset, num_bytes)
            for source, shape, device, region, offset, num_bytes in placed
        ]
        self._manager.load(Path(folder), items, dtype)
        return {}, []

    def _do_copy(self, source: int, target: int, names: list[str]) -> Reply:
        return {"bytes": self._manager.copy(source, target, names)}, []

    def _do_copy_blocks(
        self, source: int, target: int, region: str, pairs: list[tuple[int, int]], block_bytes: int
    ) -> Reply:
        return {"bytes": self._manager.copy_blocks(source, target, region, pairs, block_bytes)}, []

    def _do_renew(self, device: int, names: list[str]) -> Reply:
        made = self._manager.renew(device, names)
        return {"regions": {name: _encode(region) for name, region in made.items()}}, []

    def _do_usage(self) -> Reply:
        usage = {str(device): values for device, values in self._manager.usage().items()}
        return {"devices": usage, "traffic": asdict(self._manager.traffic)}, []


def _encode(region: Region) -> list[Any]:
    return [region.num_bytes, region.runs]


def _trim_for_ever(manager: MemoryManager) -> None:
    while True:
        time.sleep(_TRIM_SECONDS)
        manager.trim(_TRIM_SECONDS)


def _main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("socket", "capacity", "page"):
        parser.add_argument(f"--{name}", type=int, required=True)
    args = parser.parse_args()
    libc.die_with_parent(signal.SIGKILL)
    # Workers wait for what is done here, and keep every core busy meanwhile.
    libc.take_short_turns(True)
    manager = MemoryManager(args.capacity, args.page)
    threading.Thread(target=_trim_for_ever, args=(manager,), daemon=True).start()
    MemoryService(manager).serve(socket.socket(fileno=args.socket))


if __name__ == "__main__":
    _main()
