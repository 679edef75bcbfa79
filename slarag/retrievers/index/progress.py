"""How a build tells what it does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

Phase = Literal["read", "embed", "lexical", "dense", "write"]
Progress = Callable[[int, int, Phase], None]
"""Called with what is done, out of how many, and the phase: files while reading, else passages."""


class Reporter:
    """Tells `progress`, if there is one."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def counter(self, phase: Phase, total: int) -> Callable[[int], None]:
        """A function of the number done in `phase`."""
        return lambda done: self.tell(done, total, phase)

    def tell(self, done: int, total: int, phase: Phase) -> None:
        """Report `done` of `total` in `phase`."""
        if self._progress is not None:
            self._progress(done, total, phase)
