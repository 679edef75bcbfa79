"""One device's memory: a fixed capacity of pages, with named regions."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import DeviceMemoryError
from .extents import Extent, Extents
from .pages import Run, runs_of


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
    """The memory of one device, borrowed from `extents`. capacity_bytes is rounded down to whole pages."""

    def __init__(self, name: str, capacity_bytes: int, extents: Extents) -> None:
        self.name = name
        self.held: dict[str, Extent] = {}
        self._extents = extents
        self._num_pages = capacity_bytes // extents.page_bytes
        self._used_pages = 0

    @property
    def regions(self) -> dict[str, Region]:
        """What is allocated, by name."""
        return {name: Region(extent.num_bytes, extent.pages) for name, extent in self.held.items()}

    @property
    def capacity_bytes(self) -> int:
        """All pages, in bytes."""
        return self._num_pages * self._extents.page_bytes

    @property
    def used_bytes(self) -> int:
        """Allocated pages, in bytes."""
        return self._used_pages * self._extents.page_bytes

    def owns(self, extent: Extent) -> bool:
        """Whether the extent is this arena's, and none that another has not given up yet."""
        return extent.users[0] is self

    def allocate(self, name: str, num_bytes: int, after: Extent | None = None) -> Region:
        """Take pages for `num_bytes` under `name`; raises `DeviceMemoryError` beyond capacity, `ValueError` twice.

        after: what another arena holds, of the same size; the region is there once that is released.
        """
        if name in self.held:
            raise ValueError(f"region {name!r} exists on {self.name}")
        if after is not None and (after.num_bytes != num_bytes or len(after.users) > 1):
            raise ValueError(f"region {name!r} of {num_bytes} bytes cannot come after one of {after.num_bytes}")
        self._check_room(self._extents.pages_for(num_bytes))
        if after is None:
            after = self._extents.take(num_bytes, self)
        else:
            after.users.append(self)
        self.held[name] = after
        self._used_pages += len(after.pages)
        return Region(num_bytes, after.pages)

    def _check_room(self, pages: int) -> None:
        free = self._num_pages - self._used_pages
        if pages > free:
            raise DeviceMemoryError(
                f"{pages} pages asked for, {free} of {self._num_pages} are free",
                remedy="give the devices more memory, use more devices or fewer KV blocks",
                pages=pages,
                free=free,
            )

    def release(self, name: str) -> None:
        """Give a region up."""
        extent = self.held.pop(name)
        self._used_pages -= len(extent.pages)
        self._extents.release(extent, self)

    def rename(self, name: str, new: str) -> None:
        """Know a region under another name."""
        self.held[new] = self.held.pop(name)

    def close(self) -> None:
        """Give everything up."""
        for name in list(self.held):
            self.release(name)
