"""The pool as a process of its own: it ends in good order when told to, and leaves nothing when killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import suppress
from pathlib import Path

import httpx
import pytest

pytestmark = pytest.mark.server

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 120
PROGRAM = """
import asyncio, sys
from pathlib import Path
from slarag.backends.elastic.cluster.options import PoolOptions
from slarag.backends.elastic.http.serve import serve_pool
options = PoolOptions(model=Path(sys.argv[1]), devices=2, page_bytes=4096, kv_blocks=64, block_tokens=8)
asyncio.run(serve_pool(options, token="a-secret", port=int(sys.argv[2])))
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [found for child in children for found in (child, *descendants(child))]


def runs(pid: int) -> bool:
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


def wait_until_gone(pids: list[int]) -> None:
    give_up = time.monotonic() + PATIENCE_S
    while any(runs(pid) for pid in pids):
        assert time.monotonic() < give_up, "processes are left"
        time.sleep(0.01)


@pytest.fixture
def pool(tiny_folder: Path) -> Generator[tuple[subprocess.Popen[bytes], str]]:
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(tiny_folder), str(port)], cwd=ROOT)
    url = f"http://127.0.0.1:{port}"
    give_up = time.monotonic() + PATIENCE_S
    while process.poll() is None and time.monotonic() < give_up:
        with suppress(httpx.HTTPError):
            if httpx.get(url + "/health").status_code == 200:
                break
        time.sleep(0.05)
    yield process, url
    process.kill()
    process.wait()


def test_told_to_stop_it_finishes_what_runs(pool: tuple[subprocess.Popen[bytes], str]) -> None:
    process, url = pool
    started = descendants(process.pid)
    body = {"prompt": "grow", "max_tokens": 200, "temperature": 0, "stream": True, "ignore_eos": True}
    with httpx.stream("POST", url + "/v1/completions", json=body, timeout=PATIENCE_S) as reply:
        lines = (line for line in reply.iter_lines() if line)
        next(lines)
        os.kill(process.pid, signal.SIGTERM)
        events = [line.removeprefix("data: ") for line in lines]
    assert events[-1] == "[DONE]"
    assert json.loads(events[-2])["choices"][0]["finish_reason"] == "length"
    assert process.wait(PATIENCE_S) == 0
    wait_until_gone(started)


def test_killed_it_leaves_no_process(pool: tuple[subprocess.Popen[bytes], str]) -> None:
    process, _ = pool
    started = descendants(process.pid)
    assert len(started) >= 4
    process.kill()
    process.wait()
    wait_until_gone(started)
