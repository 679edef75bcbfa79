"""Children that nobody waits for are reaped by their process group."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

from slarag.backends.elastic.cluster.strays import Strays


@pytest.fixture
def family() -> Generator[list[subprocess.Popen[bytes]]]:
    """A process that leads a group, and two more of it."""
    processes = [subprocess.Popen(["sleep", "600"], process_group=0)]
    processes += [subprocess.Popen(["sleep", "600"], process_group=processes[0].pid) for _ in range(2)]
    yield processes
    for process in processes:
        process.kill()
        process.wait()


def end(process: subprocess.Popen[bytes]) -> None:
    """Leaves it to be reaped."""
    os.kill(process.pid, 9)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)


def test_a_group_is_reaped_as_its_members_end_and_forgotten_after_the_last(
    family: list[subprocess.Popen[bytes]],
) -> None:
    leader, first, second = family
    leader.kill()
    leader.wait()
    strays = Strays()
    strays.look_for(leader.pid)
    strays.reap()
    assert len(strays) == 1
    end(first)
    strays.reap()
    assert not Path(f"/proc/{first.pid}").exists()
    assert len(strays) == 1
    end(second)
    strays.reap()
    assert len(strays) == 0
