"""Starting a process of the pool with sockets to inherit."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[3]

# Threads of a team that wait for the next piece of work sleep instead of spinning: where there are as many processes as
# cores, who spins keeps the one from running that it waits for.
_WAITING = {"OMP_WAIT_POLICY": "passive"}


def spawn(module: str, arguments: Sequence[str], files: Sequence[int]) -> subprocess.Popen[bytes]:
    """Run `python -m module arguments` from the code that runs here; `files` keep their numbers there."""
    path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        pass_fds=tuple(files),
        env={**_WAITING, **os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
