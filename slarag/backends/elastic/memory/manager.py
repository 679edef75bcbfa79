"""The memory manager: owns every device's arena, fills them from disk and copies between them.

Thread-safe: tables change under a lock, bytes move outside of it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import MemoryServiceError
from ..models.checkpoint import Checkpoint
from ..models.layout import Part
from .arena import Arena, Region
from .extents import Extent, Extents


@dataclass(frozen=True, slots=True)
class Placed:
    """A checkpoint tensor and where it goes. offset: bytes from the start of `region` on `device`."""

    part: Part
    device: int
    region: str
    offset: int
    num_bytes: int


@dataclass(slots=True)
class Traffic:
    """What was moved so far, bytes."""

    read_from_disk: int = 0
    copied: int = 0
    tensors_read: dict[str, int] = field(default_factory=dict)


class MemoryManager:
    """All arenas of a pool. capacity_bytes and page_bytes are those of every device."""

    def __init__(self, capacity_bytes: int, page_bytes: int) -> None:
        self.capacity_bytes = capacity_bytes
        self.page_bytes = page_bytes
        self.traffic = Traffic()
        self._extents = Extents(page_bytes)
        self._arenas: dict[int, Arena] = {}
        self._lock = threading.Lock()

    def add_device(self, device: int) -> None:
        """Make the arena of a new device."""
        with self._lock:
            if device in self._arenas:
                raise MemoryServiceError(f"device {device} exists")
            self._arenas[device] = Arena(f"device-{device}", self.capacity_bytes, self._extents)

    def remove_device(self, device: int) -> None:
        """Give a device's memory back. No process may use it any more: it goes to others."""
        with self._lock:
            self._arena(device).close()
            del self._arenas[device]

    def file(self, device: int) -> int:
        """The descriptor to map a device's pages from, to be handed out."""
        with self._lock:
            self._arena(device)
            return self._extents.file

    def regions(self, device: int) -> dict[str, Region]:
        """A device's regions by name."""
        with self._lock:
            return self._arena(device).regions

    def allocate(
        self, device: int, sizes: Mapping[str, int], after: Mapping[str, tuple[int, str]] | None = None
    ) -> dict[str, Region]:
        """Allocate all regions (bytes by name) or none; raises `DeviceMemoryError` beyond capacity.

        after: by name, the device and the name of what the region takes the memory over from, once that is released.
        """
        after = after or {}
        with self._lock:
            arena = self._arena(device)
            made: dict[str, Region] = {}
            try:
                for name, num_bytes in sizes.items():
                    before = self._extent(*after[name]) if name in after else None
                    made[name] = arena.allocate(name, num_bytes, before)
            except BaseException:
                for name in made:
                    arena.release(name)
                raise
            return made

    def release(self, device: int, names: Iterable[str]) -> None:
        """Give regions up. Their memory is spare then, or whose it was promised to."""
        with self._lock:
            arena = self._arena(device)
            for name in names:
                arena.release(name)

    def trim(self, unused_seconds: float = 0.0) -> None:
        """Give memory back to the system that has been spare for so long."""
        with self._lock:
            unused = self._extents.withdraw(unused_seconds)
        for extent in unused:
            extent.erase()
        with self._lock:
            self._extents.reuse(unused)

    def load(self, folder: Path, placed: Sequence[Placed], dtype: str) -> None:
        """Read each tensor once from the checkpoint in `folder` into its region."""
        checkpoint = Checkpoint.open(folder)
        try:
            for (device, region), parts in _by_region(placed).items():
                with self._lock:
                    view = self._extent(device, region).view()
                for item in parts:
                    checkpoint.read_into(item.part, view[item.offset : item.offset + item.num_bytes], dtype)
                    self.traffic.read_from_disk += item.num_bytes
        finally:
            checkpoint.close()
            self.traffic.tensors_read = dict(checkpoint.tensors_read)

    def copy(self, source: int, target: int, names: Sequence[str]) -> int:
        """Copy regions that exist on both devices, peer to peer; returns the bytes."""
        copied = 0
        for name in names:
            with self._lock:
                read, written = self._extent(source, name), self._extent(target, name)
                if not self._arena(target).owns(written):
                    raise MemoryServiceError(f"region {name!r} of device {target} is not free yet", device=target)
                view = read.view()
            written.fill(view)
            copied += read.num_bytes
        self.traffic.copied += copied
        return copied

    def copy_blocks(
        self, source: int, target: int, region: str, pairs: Iterable[tuple[int, int]], block_bytes: int
    ) -> int:
        """Copy blocks (source index, target index) of `region` between devices; returns the bytes."""
        copied = 0
        with self._lock:
            view, written = self._extent(source, region).view(), self._extent(target, region)
        for taken, put in pairs:
            written.write(view[taken * block_bytes : (taken + 1) * block_bytes], put * block_bytes)
            copied += block_bytes
        self.traffic.copied += copied
        return copied

    def renew(self, device: int, names: Sequence[str]) -> dict[str, Region]:
        """Copy regions to other pages of their device; what they were is kept under the name with `.old` behind it."""
        made: dict[str, Region] = {}
        for name in names:
            with self._lock:
                arena = self._arena(device)
                old = self._extent(device, name)
                arena.rename(name, f"{name}.old")
                made[name] = arena.allocate(name, old.num_bytes)
                view, new = old.view(), self._extent(device, name)
            new.fill(view)
        return made

    def usage(self) -> dict[int, dict[str, int]]:
        """Bytes by device: capacity, used (allocated pages), resident (held by the system), padding (in pages)."""
        with self._lock:
            tables = {device: _usage(arena) for device, arena in self._arenas.items()}
            own = {
                device: [extent for extent in arena.held.values() if arena.owns(extent)]
                for device, arena in self._arenas.items()
            }
        return {
            device: {**table, "resident": sum(extent.resident_bytes for extent in own[device])}
            for device, table in tables.items()
        }

    def close(self) -> None:
        """Give all memory back."""
        with self._lock:
            for arena in self._arenas.values():
                arena.close()
            self._arenas.clear()
        self.trim()
        self._extents.close()

    def _arena(self, device: int) -> Arena:
        arena = self._arenas.get(device)
        if arena is None:
            raise MemoryServiceError(f"no device {device}", device=device)
        return arena

    def _extent(self, device: int, name: str) -> Extent:
        held = self._arena(device).held
        if name not in held:
            raise MemoryServiceError(f"no region {name!r} on device {device}", device=device)
        return held[name]


def _by_region(placed: Sequence[Placed]) -> dict[tuple[int, str], list[Placed]]:
    groups: dict[tuple[int, str], list[Placed]] = {}
    for item in placed:
        groups.setdefault((item.device, item.region), []).append(item)
    return groups


def _usage(arena: Arena) -> dict[str, int]:
    asked = sum(extent.num_bytes for extent in arena.held.values())
    return {"capacity": arena.capacity_bytes, "used": arena.used_bytes, "padding": arena.used_bytes - asked}
