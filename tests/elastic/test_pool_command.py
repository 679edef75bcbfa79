"""`slarag pool serve` with a model that writes: it serves, withstands strangers, and ends when it is told to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.elastic.fuzz import PATIENCE_S, never_breaks

pytestmark = pytest.mark.server

PROGRAM = "from slarag.cli import main; raise SystemExit(main())"


@pytest.fixture
def pool(tiny_folder: Path) -> Generator[tuple[subprocess.Popen[str], str]]:
    arguments = [
        "pool",
        "serve",
        str(tiny_folder),
        "--port",
        "0",
        "--kv-blocks",
        "16",
        "--standbys",
        "0",
        "--may-sleep",
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=Path(__file__).resolve().parents[2],
        env={**os.environ, "SLARAG_POOL_TOKEN": "a-secret"},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    yield process, process.stderr.readline()
    process.kill()
    process.wait()
    process.stderr.close()


def test_it_serves_withstands_strangers_and_ends_when_told(pool: tuple[subprocess.Popen[str], str]) -> None:
    process, line = pool
    url = line.split()[-1]
    assert line.endswith(f"on 1 devices at {url}\n")
    paths = never_breaks(url, "a-secret", examples=60, tame=little_work)
    assert {"/v1/completions", "/v1/chat/completions", "/tokenize", "/scale_elastic_ep"} <= paths
    wait_until_idle(url)
    sleep_and_wake(url)
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 0


def wait_until_idle(url: str) -> None:
    """What a client has the end of may still be in the step that its device is at."""
    give_up = time.monotonic() + PATIENCE_S
    while (load := httpx.get(url + "/load", timeout=PATIENCE_S).json())["running"] or load["waiting"]:
        assert time.monotonic() < give_up, load
        time.sleep(0.05)
    assert load["devices"] == 1


def sleep_and_wake(url: str) -> None:
    def devices() -> int:
        return httpx.get(url + "/load", timeout=PATIENCE_S).json()["devices"]

    body = {"new_data_parallel_size": 0}
    assert httpx.post(url + "/scale_elastic_ep", json=body, timeout=PATIENCE_S).status_code == 401
    assert devices() == 1
    headers = {"Authorization": "Bearer a-secret"}
    assert httpx.post(url + "/scale_elastic_ep", json=body, headers=headers, timeout=PATIENCE_S).status_code == 200
    assert devices() == 0
    reply = httpx.post(url + "/v1/completions", json={"prompt": "a", "max_tokens": 2}, timeout=PATIENCE_S)
    assert (reply.status_code, devices()) == (200, 1)


def little_work(body: dict[str, Any]) -> None:
    """A few tokens a request; what is wrong with a body stays wrong."""
    if "messages" in body:
        body.setdefault("max_tokens", 4)
    for field, most in (("max_tokens", 8), ("max_completion_tokens", 8), ("n", 2)):
        if isinstance(body.get(field), int) and body[field] > most:
            body[field] = most
