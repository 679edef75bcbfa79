"""The host's memory behind all arenas: one memfd, of which they borrow extents.

What one device gives up another takes over as it is: the system hands no page out for that, zeroes none and takes none
back, which would cost three times as much as copying an expert into it.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import time
from collections.abc import Iterable

from ..kernels.copying import copy
from . import libc
from .pages import PageAllocator, Run, runs_of
from .space import AddressSpace


class Extent:
    """Pages of the file that stay together, in order. What a former user wrote is still there.

    num_bytes: in use; the pages hold at least that. users: whose they are, then who gets them after that.
    """

    def __init__(self, file: int, page_bytes: int, num_bytes: int, pages: tuple[int, ...]) -> None:
        self.num_bytes = num_bytes
        self.pages = pages
        self.users: list[object] = []
        self._file = file
        self._page_bytes = page_bytes
        self._space: AddressSpace | None = None
        self._is_full = False

    @property
    def runs(self) -> tuple[Run, ...]:
        """The pages as runs."""
        return runs_of(self.pages)

    def view(self) -> memoryview:
        """All of it in one piece, until it is erased. The mapping is kept: reading it again costs no faults."""
        if self._space is None:
            self._space = AddressSpace(len(self.pages) * self._page_bytes, self._page_bytes)
            self._space.map(0, self._file, self.runs)
        return self._space.view(0, self.num_bytes)

    def fill(self, data: memoryview) -> None:
        """Copy `data` here, all that it holds."""
        if self._space is None:
            # Writing into the file spares the faults of pages that have never been mapped here.
            self.write(data)
        else:
            copy(self._space.address, ctypes.addressof(ctypes.c_char.from_buffer(data)), len(data))

    def write(self, data: memoryview, start: int = 0) -> None:
        """Copy `data` here from byte `start`; it ends where the pages do, or before."""
        for first, count in self.runs:
            length = count * self._page_bytes
            if start < length and data:
                part, data = data[: length - start], data[length - start :]
                self._write(part, first * self._page_bytes + start)
            start = max(0, start - length)

    def _write(self, data: memoryview, offset: int) -> None:
        while data:
            written = os.pwrite(self._file, data, offset)
            data, offset = data[written:], offset + written

    @property
    def resident_bytes(self) -> int:
        """Memory that the system really holds for it now."""
        held = -(-self.num_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        if self._is_full:
            return held
        size = self._page_bytes
        found = sum(libc.data_bytes(self._file, first * size, count * size) for first, count in self.runs)
        self._is_full = found >= held
        return found

    def erase(self) -> None:
        """The system gets the memory back; no view may be used any more."""
        self.close()
        self._is_full = False
        for first, count in self.runs:
            libc.punch_hole(self._file, first * self._page_bytes, count * self._page_bytes)

    def close(self) -> None:
        """Let go of the mapping."""
        if self._space is not None:
            self._space.close()
            self._space = None


class Extents:
    """The file and who uses what of it. What nobody uses any more is spare: the next one of its size gets it first.

    page_bytes is a multiple of the system's page.
    """

    def __init__(self, page_bytes: int) -> None:
        if page_bytes % mmap.PAGESIZE or page_bytes <= 0:
            raise ValueError(f"page_bytes {page_bytes} is no multiple of {mmap.PAGESIZE}")
        self.page_bytes = page_bytes
        self.file = os.memfd_create("slarag-devices", os.MFD_CLOEXEC)
        self._pages = PageAllocator()
        self._spare: dict[int, list[tuple[float, Extent]]] = {}

    @property
    def resident_bytes(self) -> int:
        """Memory that the system holds for all of them now, spare ones included."""
        return os.fstat(self.file).st_blocks * 512

    def pages_for(self, num_bytes: int) -> int:
        """How many pages hold so many bytes."""
        return -(-num_bytes // self.page_bytes)

    def take(self, num_bytes: int, user: object) -> Extent:
        """An extent for `user`."""
        spare = self._spare.get(num_bytes)
        extent = spare.pop()[1] if spare else self._new(num_bytes)
        extent.users.append(user)
        return extent

    def _new(self, num_bytes: int) -> Extent:
        pages = self._pages.allocate(self.pages_for(num_bytes))
        os.ftruncate(self.file, self._pages.end * self.page_bytes)
        return Extent(self.file, self.page_bytes, num_bytes, pages)

    def release(self, extent: Extent, user: object) -> None:
        """`user` does without it, and whoever waits for it has it."""
        extent.users.remove(user)
        if not extent.users:
            self._spare.setdefault(extent.num_bytes, []).append((time.monotonic(), extent))

    def withdraw(self, unused_seconds: float) -> list[Extent]:
        """Take out what has been spare for so long, to be erased and then handed to `reuse`."""
        until = time.monotonic() - unused_seconds
        old = [extent for spare in self._spare.values() for since, extent in spare if since <= until]
        left = {size: [each for each in spare if each[0] > until] for size, spare in self._spare.items()}
        self._spare = {size: spare for size, spare in left.items() if spare}
        return old

    def reuse(self, erased: Iterable[Extent]) -> None:
        """The pages can be handed out again, for another size too."""
        for extent in erased:
            self._pages.release(extent.pages)

    def close(self) -> None:
        """Give all memory back, once the last mapping is gone too."""
        os.close(self.file)
