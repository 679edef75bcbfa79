"""Pages by number: which are free, and which follow each other."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from itertools import pairwise

Run = tuple[int, int]
"""First page and number of pages that follow each other."""


class PageAllocator:
    """Hands out pages by number, lowest first. end: one past the highest that was ever handed out."""

    def __init__(self) -> None:
        self.end = 0
        self._free: list[int] = []
        self._used: set[int] = set()

    @property
    def used(self) -> int:
        """Pages that are allocated."""
        return len(self._used)

    def allocate(self, count: int) -> tuple[int, ...]:
        """Take `count` pages."""
        pages = [heapq.heappop(self._free) for _ in range(min(count, len(self._free)))]
        lacking = count - len(pages)
        pages += range(self.end, self.end + lacking)
        self.end += lacking
        self._used.update(pages)
        return tuple(pages)

    def release(self, pages: Iterable[int]) -> None:
        """Give `pages` back; raises `ValueError` for a page that is not allocated."""
        for page in pages:
            if page not in self._used:
                raise ValueError(f"page {page} is not allocated")
            self._used.remove(page)
            heapq.heappush(self._free, page)


def runs_of(pages: Sequence[int]) -> tuple[Run, ...]:
    """Pages in order, as runs of consecutive ones: fewer mappings, and fewer bytes on a socket."""
    if not pages:
        return ()
    breaks = [index for index, (left, right) in enumerate(pairwise(pages), start=1) if right != left + 1]
    edges = [0, *breaks, len(pages)]
    return tuple((pages[start], end - start) for start, end in pairwise(edges))


def pages_of(runs: Iterable[Run]) -> tuple[int, ...]:
    """The inverse of `runs_of`."""
    return tuple(page for first, count in runs for page in range(first, first + count))
