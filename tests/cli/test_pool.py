"""`slarag pool` without a pool: what it prints of one, and what it says when there is none."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from slarag.backends.elastic.models.config import Qwen3MoeConfig
from slarag.backends.elastic.models.random_model import make_random_model
from slarag.cli.pool_view import status_view
from slarag.cli.streams import show
from tests.cli.conftest import Cli

NAME = "vllm:time_to_first_token_seconds"
POOL: dict[str, Any] = {
    "model": "reader",
    "devices": 2,
    "standbys": 1,
    "running": 3,
    "waiting": 4,
    "kv_cache_used": 0.25,
    "is_resizing": True,
    "simulated": "NVIDIA H200 SXM",
    "replaced_workers": 1,
    "workers": [
        {"device": 0, "memory_bytes": 1 << 20, "capacity_bytes": 2 << 20, "experts": 12, "running": 3, "waiting": 4},
        {"device": 1, "memory_bytes": None, "capacity_bytes": None, "experts": 11, "running": 0, "waiting": 0},
    ],
    "resizes": [
        {"source": 1, "target": 2, "phase": "completed", "seconds": 0.5, "bytes_moved": 1 << 20,
         "bytes_lower_bound": 1 << 20, "error": None},
        {"source": 2, "target": 9, "phase": "failed", "seconds": 0.1, "bytes_moved": 0,
         "bytes_lower_bound": 0, "error": "no memory"},
    ],
}  # fmt: skip


def test_the_view_shows_queue_memory_experts_attainment_and_resizes(capsys: pytest.CaptureFixture[str]) -> None:
    attainment = {"ttft": {"objective_ms": 1000.0, "share": 0.995}, "itl": {"objective_ms": 100.0, "share": None}}
    show(*status_view(POOL, attainment))
    shown = capsys.readouterr().out
    for words in (
        "reader: 2 devices",
        "3 running, 4 waiting",
        "99.5 %",
        "nothing yet",
        "simulated NVIDIA H200",
        "no memory",
    ):
        assert words in " ".join(shown.split())


def test_the_view_shows_what_sizes_the_pool_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    decision = {"at": 0.0, "from": 2, "to": 3, "standbys": 1, "why": "9.0 requests/s, 4 waiting"}
    autoscale = {"policy": "forecast", "floor": 1, "ceiling": 8, "attainment": 0.985, "decisions": [decision]}
    show(*status_view({**POOL, "autoscale": autoscale}, {}))
    shown = " ".join(capsys.readouterr().out.split())
    for words in ("2 -> 3", "9.0 requests/s, 4 waiting", "sized by forecast, 1 to 8 devices", "98.5 %"):
        assert words in shown


@contextmanager
def server(status: int, body: str) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET  # noqa: N815 - the base class's name

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    made = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{made.server_address[1]}"
    finally:
        made.shutdown()
        made.server_close()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body", "code", "words"),
    [
        (200, "<html>", 1, "is no pool"),
        (404, "<html>", 1, "404"),
        (401, "{}", 2, "refuses the token"),
        (400, json.dumps({"error": {"message": "a pool of 99 devices cannot be"}}), 2, "99 devices"),
        (409, json.dumps({"error": {"message": "a resize is running"}}), 1, "a resize is running"),
    ],
)
def test_what_a_server_refuses_is_one_line(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, status: int, body: str, code: int, words: str
) -> None:
    monkeypatch.setenv("SLARAG_POOL_TOKEN", "a-secret")
    with server(status, body) as url:
        cli("pool", "scale", "99", "--url", url, "--dry-run").refused(code, words)


def test_a_pool_that_may_not_sleep_says_how_it_may(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLARAG_POOL_TOKEN", "a-secret")
    with server(400, json.dumps({"error": {"message": "field 'new_data_parallel_size': too small"}})) as url:
        cli("pool", "scale", "0", "--url", url).refused(2, "new_data_parallel_size", "--may-sleep")


def test_more_devices_than_experts_are_refused_before_anything_starts(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SLARAG_POOL_TOKEN", "a-secret")
    config = Qwen3MoeConfig(
        vocab_size=320,
        hidden_size=16,
        num_layers=1,
        num_heads=1,
        num_kv_heads=1,
        head_dim=16,
        num_experts=16,
        experts_per_token=2,
        moe_intermediate_size=16,
    )
    folder = make_random_model(tmp_path / "model", config)
    cli("pool", "serve", folder, "--devices", "17", "--port", "0").refused(2, "17 devices", "1 to 16")


def test_what_cannot_be_is_refused_before_anything_starts(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    cli("pool", "status", "--once", "--url", "127.0.0.1").refused(2, "no server's address")
    monkeypatch.setenv("SLARAG_POOL_TOKEN", "sécret")
    cli("pool", "scale", "2").refused(2, "characters that no token has")
    cli("pool", "serve", "--device", "abacus").refused(2, "abacus", "h200")
    cli("pool", "serve", "--autoscale", "--max-devices", "2", "-n", "3").refused(2, "3 devices", "--max-devices")
    cli("pool", "serve", tmp_path, "--device", "abacus").refused(2, "abacus", "h200")
    cli("pool", "bench", "resize", tmp_path, "--device", "abacus").refused(2, "abacus", "ascend_910b")
    cli("pool", "simulate", "--trace", tmp_path / "none.jsonl").refused(2, "none.jsonl")


def test_a_trace_is_simulated_under_every_policy(cli: Cli, tmp_path: Path) -> None:
    trace = tmp_path / "trace.jsonl"
    rows = [{"t": at, "input_tokens": 200, "output_tokens": 20} for at in range(20)]
    trace.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = cli("pool", "simulate", "--trace", trace, "--ceiling", "2", "--json")
    document = json.loads(done.out)
    assert (done.code, document["schema"], document["workload"]["simulated"]) == (0, 1, True)
    assert document["figures"]["static_attainment"]["value"] >= 0.99
    assert "forecast_device_seconds" in document["figures"]
