"""A pool that sizes itself: it grows under load, shrinks after it, says why, and may sleep."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from slarag.backends.elastic.calibration import calibrated_model
from slarag.backends.elastic.cluster.options import PoolOptions
from slarag.backends.elastic.http.autoscale import Autoscaler, AutoscaleSettings
from slarag.backends.elastic.serve.engine import PoolEngine
from slarag.backends.pool.controller import Decision
from slarag.backends.pool.observation import Observation, Target
from slarag.backends.pool.policy import ForecastPolicy
from slarag.backends.pool.references import QueueThreshold, TargetOngoing
from slarag.backends.pool.service import ServiceModel

PROGRAM = "from slarag.cli import main; raise SystemExit(main())"
SLOW = {
    "name": "slow",
    "memory_bytes": 1e8,
    "flops_per_s": 2e8,
    "memory_bytes_per_s": 1e11,
    "link_bytes_per_s": 1e10,
    "step_overhead_s": 0.002,
}
PATIENCE_S = 60.0


def test_a_decision_is_said_in_words_and_kept() -> None:
    lines: list[str] = []
    scaler = Autoscaler(AutoscaleSettings(ceiling=4), lines.append)
    seen = Observation(
        now=9.0,
        devices=2,
        waiting=5,
        running=7,
        arrivals=20,
        input_tokens=100,
        output_tokens=10,
        interval_s=4.0,
        finished=10,
        met=9,
    )
    scaler.looked(seen)
    scaler.decided(Decision(seen, Target(3, 1)))
    scaler.decided(Decision(seen, Target(2, 4)))
    assert lines == ["2 -> 3 devices: 5.0 requests/s, 5 waiting, 7 running, 9 of 10 within their objectives"]
    status = scaler.status()
    assert (status["target"], status["count"], status["attainment"], status["ceiling"]) == (3, 1, 0.9, 4)
    assert [(row["from"], row["to"]) for row in status["decisions"]] == [(2, 3)]
    assert json.loads(json.dumps(status)) == status


def test_each_policy_keeps_the_limits() -> None:
    made = {
        name: AutoscaleSettings(policy=name, floor=2, ceiling=3, per_device=5.0).make_policy(ServiceModel())
        for name in ("forecast", "queue", "ongoing")
    }
    assert [type(policy) for policy in made.values()] == [ForecastPolicy, QueueThreshold, TargetOngoing]
    busy: dict[str, Any] = {"devices": 2, "waiting": 900, "running": 64, "arrivals": 500, "interval_s": 5.0}
    for policy in made.values():
        sizes = [
            policy.decide(Observation(now=5.0 * k, input_tokens=90_000, output_tokens=9_000, **busy)).devices
            for k in range(4)
        ]
        assert sizes[-1] == 3


def test_a_pool_is_measured_before_it_serves_and_counts_from_zero_then(tiny_folder: Path) -> None:
    async def main() -> None:
        options = PoolOptions(model=tiny_folder, page_bytes=4096, kv_blocks=64, block_tokens=8, max_batch_tokens=64)
        engine = await PoolEngine.start(options)
        try:
            model = await calibrated_model(engine)
            assert 0 < model.scale_up_s < PATIENCE_S
            assert (model.max_batch_tokens, model.max_sequences, engine.size) == (64, options.max_sequences, 1)
            assert 0 < float(model.step_seconds(32, 4, 1)) < PATIENCE_S
            assert engine.metrics.generation_tokens == engine.metrics.prompt_tokens == 0
        finally:
            await engine.aclose()

    asyncio.run(main())


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[str, list[str]]]:
    """A pool in a process of its own: its address, and what it says, as it comes."""
    command = [sys.executable, "-c", PROGRAM, "pool", "serve", *arguments, "--port", "0"]
    folder = Path(__file__).resolve().parents[2]
    env = {name: value for name, value in os.environ.items() if name != "SLARAG_POOL_TOKEN"}
    process = subprocess.Popen(command, cwd=folder, env=env, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    said = iter(process.stderr)
    try:
        url = next(line for line in said if " at http" in line).split()[-1]
        lines: list[str] = []
        yield url, lines
        process.terminate()
        lines += said
        assert process.wait(PATIENCE_S) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.mark.server
def test_a_pool_grows_under_load_and_shrinks_after_it(tiny_folder: Path, tmp_path: Path) -> None:
    profile = tmp_path / "slow.yaml"
    profile.write_text(json.dumps(SLOW))
    device = ["--device", str(profile), "--kv-blocks", "128", "--standbys", "2"]
    limits = ["--autoscale", "--min-devices", "1", "--max-devices", "3", "--interval", "0.5", "--ttft-ms", "5000"]
    with serving(str(tiny_folder), *device, *limits) as (url, lines):
        grown = asyncio.run(loaded(url))
        assert max(row["to"] for row in grown["autoscale"]["decisions"]) >= 2
        assert grown["autoscale"]["policy"] == "forecast"
        quiet = until(url, lambda pool: pool["devices"] == 1)
        assert quiet["autoscale"]["decisions"][-1]["to"] == 1
        assert "slarag:autoscale_target_devices 1" in httpx.get(url + "/metrics", timeout=PATIENCE_S).text
        # Nobody but its policy can: it was started without a token.
        refused = httpx.post(url + "/scale_elastic_ep", json={"new_data_parallel_size": 2}, timeout=PATIENCE_S)
        assert refused.status_code == 401
    assert any("1 -> " in line and "requests/s" in line for line in lines)


@pytest.mark.server
def test_a_quiet_pool_that_may_have_no_device_sleeps_until_it_is_asked(tiny_folder: Path) -> None:
    limits = ["--autoscale", "--min-devices", "0", "--max-devices", "2", "--policy", "ongoing", "--interval", "0.2"]
    with serving(str(tiny_folder), "--kv-blocks", "32", "--standbys", "0", *limits) as (url, _):
        asleep = until(url, lambda pool: pool["devices"] == 0)
        assert asleep["autoscale"]["decisions"][-1]["to"] == 0
        assert httpx.get(url + "/v1/models", timeout=PATIENCE_S).json()["data"][0]["id"] == "model"
        body = {"model": "model", "prompt": [1, 2, 3], "max_tokens": 2}
        assert httpx.post(url + "/v1/completions", json=body, timeout=PATIENCE_S).status_code == 200


async def loaded(url: str) -> dict[str, Any]:
    """Ask more than one device can do until the pool has grown; returns its state then."""
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as client:
        asked: list[asyncio.Task[httpx.Response]] = []
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            prompt = [(7 * len(asked) + k) % 250 for k in range(250)]
            body = {"model": "model", "prompt": prompt, "max_tokens": 4, "ignore_eos": True}
            asked.append(asyncio.create_task(client.post("/v1/completions", json=body)))
            await asyncio.sleep(0.1)
            pool = (await client.get("/pool")).json()
            if pool["devices"] >= 2:
                break
        replies = await asyncio.gather(*asked)
        assert {reply.status_code for reply in replies} == {200}
        return pool


def until(url: str, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    ends = time.monotonic() + PATIENCE_S
    while not holds(pool := httpx.get(url + "/pool", timeout=PATIENCE_S).json()):
        assert time.monotonic() < ends, pool
        time.sleep(0.1)
    return pool
