"""Workers that a zygote forked and could not tell of before it ended."""

from __future__ import annotations

import os


class Strays:
    """What ended zygotes leave behind. Strays end by themselves, and are reaped here: nobody else knows of them.

    A zygote and all that it forks are one process group, which has the zygote's number.
    """

    def __init__(self) -> None:
        self._groups: set[int] = set()

    def __len__(self) -> int:
        return len(self._groups)

    def look_for(self, zygote: int) -> None:
        """From now on, for what `zygote` forked; it must have ended and be reaped itself."""
        self._groups.add(zygote)

    def reap(self) -> None:
        """Reap those that have ended; a group without any child left is forgotten."""
        for group in list(self._groups):
            try:
                while os.waitpid(-group, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                self._groups.discard(group)
