"""A pool of readers as a process of its own: slarag's backend, engine and command line on it, and what strangers send.

One pool serves all tests here; each leaves it working, with one device.
"""

from __future__ import annotations

import asyncio
import io
import json
import re
import sys
import time
from collections.abc import Generator
from typing import Any

import httpx
import pytest

from slarag import Engine
from slarag.backends.conformance import BackendConformance, ConformanceSettings
from slarag.backends.pool_backend import PoolBackend
from slarag.backends.pool_process import PoolProcess
from slarag.cli import main
from slarag.sla.errors import BackendUnavailableError, ConfigurationError
from slarag.sla.plan import Plan
from tests.backends.model_server import serving
from tests.elastic.fuzz import never_breaks
from tests.engine.support import CALIBRATION, PASSAGES, profile
from tests.fakes import FixedClassifier, PassageList

pytestmark = pytest.mark.server

PATIENCE_S = 60.0
_pools: list[PoolProcess] = []


@pytest.fixture(scope="module", autouse=True)
def pool() -> Generator[PoolProcess]:
    made = PoolProcess.start(devices=1)
    _pools.append(made)
    yield made
    _pools.clear()
    made.close()
    assert made.process.returncode == 0


@pytest.fixture
def token(pool: PoolProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLARAG_POOL_TOKEN", pool.token)


class TestPoolBackend(BackendConformance):
    settings = ConformanceSettings(priced=True, tolerance_s=20.0, probability_tolerance=1e-2)

    def make_backend(self) -> PoolBackend:
        return PoolBackend(_pools[0].url, load_timeout_s=PATIENCE_S)


def test_a_server_that_never_answers_holds_up_nobody() -> None:
    class Stalled(TestPoolBackend):
        def make_stalled_backend(self) -> PoolBackend:
            return PoolBackend(server.url)

    from slarag.backends.checks.deadlines import stalled_calls_raise_at_their_deadline

    with serving() as server:
        server.mode = "stall"
        Stalled().run_check(stalled_calls_raise_at_their_deadline)


def test_what_is_no_pool_of_readers_is_refused_when_it_is_connected() -> None:
    with serving() as server, pytest.raises(ConfigurationError, match="serves no reader"):
        asyncio.run(connect(PoolBackend(server.url)))
    with pytest.raises(BackendUnavailableError, match="cannot be reached"):
        asyncio.run(connect(PoolBackend("http://127.0.0.1:9")))


async def connect(backend: PoolBackend) -> None:
    try:
        await backend.connect(PATIENCE_S)
    finally:
        await backend.aclose()


def test_the_load_is_the_pools(pool: PoolProcess) -> None:
    async def use() -> None:
        backend = PoolBackend(pool.url, load_timeout_s=PATIENCE_S)
        load = await backend.load()
        assert (load.waiting, load.running, load.devices) == (0, 0, 1)
        assert load.seconds_per_passage is None or load.seconds_per_passage > 0
        await backend.aclose()

    asyncio.run(use())
    with pytest.raises(BackendUnavailableError, match="does not tell its load"):
        asyncio.run(PoolBackend("http://127.0.0.1:9").load())


def cancelled(pool: PoolProcess) -> int:
    """Requests that the pool called off because nobody waited for them."""
    page = httpx.get(pool.url + "/metrics", timeout=PATIENCE_S).text
    counts = re.findall(r'finished_reason="cancelled"} (\d+)', page)
    return int(counts[0]) if counts else 0


def test_a_client_that_leaves_is_not_read_for_any_further(pool: PoolProcess) -> None:
    body = {"question": "Who knows?", "passages": [f"Nobody knows {number}. " * 60 for number in range(250)]}
    before = cancelled(pool)
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(pool.url + "/v1/answers", json=body, timeout=httpx.Timeout(PATIENCE_S, read=0.2))
    give_up = time.monotonic() + PATIENCE_S
    while cancelled(pool) == before:
        assert time.monotonic() < give_up
        time.sleep(0.05)
    load = httpx.get(pool.url + "/load", timeout=PATIENCE_S).json()
    assert (load["running"], load["waiting"]) == (0, 0)


def open_engine(where: str | int) -> Engine:
    parts: dict[str, Any] = {"classifier": FixedClassifier(), "calibration": CALIBRATION, "profile": profile()}
    return Engine.open(PassageList(PASSAGES), pool=where, **parts)


def test_an_engine_reads_on_a_running_pool_and_leaves_it_running(pool: PoolProcess) -> None:
    with open_engine(pool.url) as engine:
        answer = engine.ask("Who built the tower of Alder?", plan=Plan())
    assert "Mara Quill" in answer.text
    assert httpx.get(pool.url + "/health", timeout=PATIENCE_S).status_code == 200


def test_an_engine_starts_a_pool_and_stops_it(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[PoolProcess] = []
    start = PoolProcess.start

    def noted(**sizes: Any) -> PoolProcess:
        started.append(start(**sizes))
        return started[0]

    monkeypatch.setattr(PoolProcess, "start", noted)
    with open_engine(1) as engine:
        assert "Mara Quill" in engine.ask("Who built the tower of Alder?", plan=Plan()).text
        assert started[0].process.poll() is None
    assert started[0].process.returncode == 0


def test_an_engine_on_no_pool_says_so() -> None:
    with pytest.raises(BackendUnavailableError, match="cannot be reached"):
        open_engine("http://127.0.0.1:9")
    with pytest.raises(ConfigurationError, match="0 devices"):
        open_engine(0)
    with pytest.raises(ConfigurationError, match="not both"):
        Engine.open(PassageList(PASSAGES), pool=1, backend=PoolBackend("http://127.0.0.1:9"))


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    sys.stdin = io.TextIOWrapper(io.BytesIO(b""))
    capsys.readouterr()
    code = main(list(arguments))
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_status_shows_the_pool(pool: PoolProcess, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "pool", "status", "--url", pool.url, "--json")
    document = json.loads(out)
    assert code == 0
    assert (document["schema"], document["model"], document["devices"]) == (1, "reader", 1)
    assert set(document["attainment"]) == {"ttft", "itl"}
    code, out, _ = run(capsys, "pool", "status", "--url", pool.url, "--once")
    assert code == 0
    assert "reader: 1 devices" in out


def test_scale_changes_the_size_with_the_token_only(
    pool: PoolProcess, token: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = run(capsys, "pool", "scale", "2", "--url", pool.url, "--dry-run")
    assert (code, "1 devices join, 0 leave" in out) == (0, True)
    for size in (2, 1):
        code, out, _ = run(capsys, "pool", "scale", str(size), "--url", pool.url, "--json")
        assert (code, json.loads(out)["size"]) == (0, size)
    monkeypatch.setenv("SLARAG_POOL_TOKEN", "another")
    code, _, err = run(capsys, "pool", "scale", "2", "--url", pool.url)
    assert (code, "refuses the token" in err) == (2, True)
    monkeypatch.delenv("SLARAG_POOL_TOKEN")
    code, _, err = run(capsys, "pool", "scale", "2", "--url", pool.url)
    assert (code, "SLARAG_POOL_TOKEN" in err) == (2, True)
    assert httpx.get(pool.url + "/load", timeout=PATIENCE_S).json()["devices"] == 1


def test_no_server_and_no_checkpoint_are_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Any) -> None:
    code, _, err = run(capsys, "pool", "status", "--once", "--url", "http://127.0.0.1:9")
    assert (code, "no pool answers" in err, err.count("\n")) == (1, True, 1)
    code, _, err = run(capsys, "pool", "serve", str(tmp_path), "--port", "0")
    assert code == 2
    assert "config.json" in err.splitlines()[-1]


def test_what_is_sent_to_it_never_breaks_it(pool: PoolProcess) -> None:
    assert {"/v1/answers", "/scale_elastic_ep"} <= never_breaks(pool.url, pool.token, examples=60)
    assert httpx.get(pool.url + "/load", timeout=PATIENCE_S).json()["devices"] == 1
