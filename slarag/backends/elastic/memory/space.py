"""Address space that stays put while the pages under it change.

`AddressSpace` reserves a range and maps pages of an arena into it, in any order: what is scattered in memory is
contiguous for a kernel, and a kernel's pointers stay valid when pages are swapped under them (vpage-remap of
ElasticMoE, arXiv 2510.02613, section 4; here with mmap MAP_FIXED).
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable

from . import libc
from .pages import Run


class AddressSpace:
    """A reserved range of `num_bytes`, a multiple of `page_bytes`."""

    def __init__(self, num_bytes: int, page_bytes: int) -> None:
        self.num_bytes = num_bytes
        self.page_bytes = page_bytes
        self.address = libc.reserve(num_bytes)

    def map(self, offset: int, file: int, runs: Iterable[Run]) -> None:
        """Put the pages of `runs` at `offset` (bytes), one run behind the other; what was there is unmapped."""
        for first, count in runs:
            length = count * self.page_bytes
            self._check(offset, length)
            libc.map_file(self.address + offset, length, file, first * self.page_bytes)
            offset += length

    def fill(self, offset: int, file: int, runs: Iterable[Run]) -> None:
        """Put a private copy of the pages there instead."""
        for first, count in runs:
            length = count * self.page_bytes
            self._check(offset, length)
            libc.map_private(self.address + offset, length)
            os.preadv(file, [self.view(offset, length)], first * self.page_bytes)
            offset += length

    def unmap(self, offset: int, length: int) -> None:
        """Leave nothing under a part of the range; reading it afterwards is an access violation."""
        self._check(offset, length)
        libc.map_nothing(self.address + offset, length)

    def view(self, offset: int, length: int) -> memoryview:
        """The bytes of a part of the range. The caller keeps the space open while it uses them."""
        self._check(offset, length)
        return memoryview((ctypes.c_char * length).from_address(self.address + offset)).cast("B")

    def close(self) -> None:
        """Give the range back; no view of it may be used any more. Twice is fine."""
        if self.address:
            libc.unmap(self.address, self.num_bytes)
            self.address = 0

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or length < 0 or offset + length > self.num_bytes:
            raise ValueError(f"bytes {offset} to {offset + length} of a space of {self.num_bytes}")
