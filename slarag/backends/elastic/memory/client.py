"""Calls to the memory manager's process."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ....sla.errors import SlaragError
from .. import wire
from ..errors import CheckpointError, DeviceMemoryError, MemoryServiceError
from ..spawn import spawn
from .arena import Region
from .manager import Placed
from .pages import pages_of

_ERRORS: dict[str, type[SlaragError]] = {
    error.code: error for error in (CheckpointError, DeviceMemoryError, MemoryServiceError)
}


@dataclass(frozen=True, slots=True)
class Attachment:
    """A device's memory as its worker sees it. file: the arena, the holder's to close."""

    file: int
    page_bytes: int
    regions: dict[str, Region]


class MemoryClient:
    """One connection; calls from several threads take turns."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def connect(self) -> socket.socket:
        """A further connection, for another process or for calls at the same time."""
        ours, theirs = socket.socketpair()
        with theirs:
            self._call("connect", files=[theirs.fileno()])
        return ours

    def add_device(self, device: int, sizes: dict[str, int]) -> None:
        """Make a device's arena with regions of `sizes` bytes; raises `DeviceMemoryError` if they do not fit."""
        self._call("add_device", device=device, sizes=sizes)

    def remove_device(self, device: int) -> None:
        """Give a device's memory back."""
        self._call("remove_device", device=device)

    def attach(self, device: int) -> Attachment:
        """Get a device's arena and regions."""
        reply, files = self._call("attach", device=device)
        return Attachment(files[0], reply["page_bytes"], _regions(reply["regions"]))

    @contextmanager
    def attached(self, device: int) -> Generator[Attachment]:
        """`attach`, with the descriptor closed at the end; mappings outlive it."""
        attachment = self.attach(device)
        try:
            yield attachment
        finally:
            os.close(attachment.file)

    def allocate(
        self, device: int, sizes: dict[str, int], after: Mapping[str, tuple[int, str]] | None = None
    ) -> dict[str, Region]:
        """Allocate all regions or none; raises `DeviceMemoryError`. after: see `MemoryManager.allocate`."""
        return _regions(self._call("allocate", device=device, sizes=sizes, after=after or {})[0]["regions"])

    def release(self, device: int, names: Sequence[str]) -> None:
        """Give regions back."""
        self._call("release", device=device, names=list(names))

    def load(self, folder: str, placed: Sequence[Placed], dtype: str) -> None:
        """Read tensors from disk, each once; raises `CheckpointError`."""
        self._call("load", **load_fields(folder, placed, dtype))

    def copy(self, source: int, target: int, names: Sequence[str]) -> int:
        """Copy regions between devices; returns the bytes."""
        return int(self._call("copy", source=source, target=target, names=list(names))[0]["bytes"])

    def copy_blocks(
        self, source: int, target: int, region: str, pairs: Sequence[tuple[int, int]], block_bytes: int
    ) -> int:
        """Copy KV blocks between devices; returns the bytes."""
        fields: dict[str, object] = {"source": source, "target": target, "region": region, "pairs": list(pairs)}
        return int(self._call("copy_blocks", (), **fields, block_bytes=block_bytes)[0]["bytes"])

    def renew(self, device: int, names: Sequence[str]) -> dict[str, Region]:
        """Copy regions to other pages of their device; what they were is kept under the name with `.old` behind it."""
        return _regions(self._call("renew", device=device, names=list(names))[0]["regions"])

    def usage(self) -> dict[str, Any]:
        """Bytes by device, and the traffic so far."""
        return self._call("usage")[0]

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _call(self, call: str, files: Sequence[int] = (), **fields: object) -> tuple[wire.Message, list[int]]:
        with self._lock:
            try:
                wire.send(self._connection, {"call": call, **fields}, files)
                reply, received = wire.receive(self._connection)
            except (EOFError, OSError) as error:
                raise MemoryServiceError(
                    f"the memory manager is gone: {error}", remedy="start the pool again"
                ) from error
        raise_error(reply)
        return reply, received


def load_fields(folder: str, placed: Sequence[Placed], dtype: str) -> dict[str, Any]:
    """What the call `load` states."""
    items = [[p.part.source, p.part.shape, p.device, p.region, p.offset, p.num_bytes] for p in placed]
    return {"folder": folder, "placed": items, "dtype": dtype}


def raise_error(reply: wire.Message) -> None:
    """Raise what the manager refused a call with, if it did."""
    if "error" in reply:
        kind = _ERRORS.get(reply["error"], MemoryServiceError)
        raise kind(reply["message"], remedy=reply.get("remedy", ""))


def _regions(raw: dict[str, Any]) -> dict[str, Region]:
    return {name: Region(num_bytes, pages_of(runs)) for name, (num_bytes, runs) in raw.items()}


@dataclass(frozen=True, slots=True)
class MemoryProcess:
    """The manager's process and the connection that it lives by."""

    process: subprocess.Popen[bytes]
    client: MemoryClient

    @classmethod
    def start(cls, capacity_bytes: int, page_bytes: int) -> MemoryProcess:
        """Start it for devices of `capacity_bytes` each."""
        ours, theirs = socket.socketpair()
        with theirs:
            sizes = ["--capacity", str(capacity_bytes), "--page", str(page_bytes)]
            module = "slarag.backends.elastic.memory.service"
            process = spawn(module, ["--socket", str(theirs.fileno()), *sizes], [theirs.fileno()])
        return cls(process, MemoryClient(ours))

    @property
    def is_alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def close(self) -> None:
        """End it; waits until it is gone."""
        self.client.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=5)
        self.process.kill()
        self.process.wait()
