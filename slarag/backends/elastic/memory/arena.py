"""One device's memory: a memfd of fixed capacity, split into pages, with named regions."""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass

from . import libc
from .pages import PageAllocator, Run, runs_of
from .space import AddressSpace


@dataclass(frozen=True, slots=True)
class Region:
    """Memory with a name. num_bytes: asked for; the pages hold at least that. runs: its pages, in order."""

    num_bytes: int
    pages: tuple[int, ...]

    @property
    def runs(self) -> tuple[Run, ...]:
        """The pages as runs."""
        return runs_of(self.pages)


class Arena:
    """The memory of one device. Nothing is used before it is written: a memfd is sparse.

    capacity_bytes is rounded down to whole pages; page_bytes is a multiple of the system's page.
    """

    def __init__(self, name: str, capacity_bytes: int, page_bytes: int) -> None:
        if page_bytes % mmap.PAGESIZE or page_bytes <= 0:
            raise ValueError(f"page_bytes {page_bytes} is no multiple of {mmap.PAGESIZE}")
        self.name = name
        self.page_bytes = page_bytes
        self.regions: dict[str, Region] = {}
        self._mapped: dict[str, AddressSpace] = {}
        self._pages = PageAllocator(capacity_bytes // page_bytes)
        self.file = os.memfd_create(f"slarag-{name}", os.MFD_CLOEXEC)
        os.ftruncate(self.file, self.capacity_bytes)

    @property
    def capacity_bytes(self) -> int:
        """All pages, in bytes."""
        return self._pages.num_pages * self.page_bytes

    @property
    def used_bytes(self) -> int:
        """Allocated pages, in bytes."""
        return self._pages.used * self.page_bytes

    @property
    def resident_bytes(self) -> int:
        """Memory that the system really holds for this arena now."""
        return os.fstat(self.file).st_blocks * 512

    def allocate(self, name: str, num_bytes: int) -> Region:
        """Take pages for `num_bytes` under `name`; raises `DeviceMemoryError` beyond capacity, `ValueError` twice."""
        if name in self.regions:
            raise ValueError(f"region {name!r} exists on {self.name}")
        region = Region(num_bytes, self._pages.allocate(-(-num_bytes // self.page_bytes)))
        self.regions[name] = region
        return region

    def release(self, name: str) -> None:
        """Give a region's pages and the memory behind them back."""
        region, space = self.withdraw(name)
        self.erase(region, space)
        self.reuse(region)

    def withdraw(self, name: str) -> tuple[Region, AddressSpace | None]:
        """The first third of `release`: nothing has the name any more. Returns what `erase` takes."""
        return self.regions.pop(name), self._mapped.pop(name, None)

    def erase(self, region: Region, space: AddressSpace | None) -> None:
        """The second, which takes most of the time: the system gets the memory back."""
        if space is not None:
            space.close()
        for first, count in region.runs:
            libc.punch_hole(self.file, first * self.page_bytes, count * self.page_bytes)

    def reuse(self, region: Region) -> None:
        """The last: the pages can be allocated again."""
        self._pages.release(region.pages)

    def rename(self, name: str, new: str) -> None:
        """Know a region, and its mapping, under another name."""
        self.regions[new] = self.regions.pop(name)
        if space := self._mapped.pop(name, None):
            self._mapped[new] = space

    def view(self, name: str) -> memoryview:
        """A region in one piece, until it is released. Its mapping is kept: reading it again costs no faults."""
        region = self.regions[name]
        space = self._mapped.get(name)
        if space is None:
            space = self._mapped[name] = AddressSpace(len(region.pages) * self.page_bytes, self.page_bytes)
            space.map(0, self.file, region.runs)
        return space.view(0, region.num_bytes)

    def write(self, region: Region, data: memoryview, start: int = 0) -> None:
        """Copy `data` into a region from byte `start`; it ends where the region does, or before."""
        for first, count in region.runs:
            length = count * self.page_bytes
            if start < length and data:
                part, data = data[: length - start], data[length - start :]
                self._write(part, first * self.page_bytes + start)
            start = max(0, start - length)

    def _write(self, data: memoryview, offset: int) -> None:
        while data:
            written = os.pwrite(self.file, data, offset)
            data, offset = data[written:], offset + written

    def close(self) -> None:
        """Give all memory back, once the last mapping elsewhere is gone too; no view may be used any more."""
        for space in self._mapped.values():
            space.close()
        self._mapped.clear()
        os.close(self.file)
