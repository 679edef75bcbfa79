"""Deadlines as an objective: counted by the pool, read by the driver, simulated, and paid for by the policy."""

from __future__ import annotations

import asyncio
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from slarag.backends.elastic.serve.metrics import Metrics
from slarag.backends.pool.driver import HttpPool
from slarag.backends.pool.policy import ForecastPolicy, PolicyLimits
from slarag.backends.pool.references import Static
from slarag.backends.pool.service import Objectives, ServiceModel
from slarag.backends.pool.simulator import SimulatedRun, Simulator
from slarag.backends.pool.trace import Arrival, load_trace, waves
from slarag.cli.pool_view import status_view
from slarag.sla.errors import DataError

MODEL = ServiceModel(
    prefill_tokens_per_s=1000.0,
    step_base_s=0.01,
    step_per_answer_s=0.001,
    max_batch_tokens=108,
    max_sequences=8,
    scale_up_s=1.0,
    scale_down_s=1.0,
)
LOOSE = Objectives(ttft_s=2.0, itl_s=0.15, share=0.5)


def test_a_pool_counts_deadlines_of_those_who_waited() -> None:
    metrics = Metrics()
    for reason in ("stop", "length", "deadline", "failed", "cancelled"):
        metrics.end(reason, has_deadline=True)
        metrics.end(reason, has_deadline=False)
    assert (metrics.with_deadline, metrics.met_deadline) == (4, 2)
    assert sum(metrics.finished.values()) == 10


def test_the_driver_reads_them() -> None:
    metrics = Metrics()

    def handle(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, text=metrics.text({"slarag:devices": 2}))

    async def use() -> None:
        driver = HttpPool("http://pool", devices=2, transport=httpx.MockTransport(handle))
        await driver.observe()
        for reason in ("stop", "stop", "deadline"):
            metrics.end(reason, has_deadline=True)
        metrics.end("stop", has_deadline=False)
        seen = await driver.observe()
        assert (seen.finished, seen.with_deadline, seen.met_deadline) == (4, 3, 2)
        await driver.aclose()

    asyncio.run(use())


def test_the_simulator_holds_answers_against_their_deadlines() -> None:
    trace = [Arrival(0.0, 100, 11, 10.0), Arrival(0.0, 100, 11, 0.1), Arrival(0.0, 100, 11)]
    simulator = Simulator(MODEL, LOOSE, trace, interval_s=1.0)
    simulator.advance()
    seen = simulator.observe()
    assert (seen.finished, seen.with_deadline, seen.met_deadline) == (3, 2, 1)
    assert Simulator(MODEL, LOOSE, trace).run(Static(1)).deadline_attainment == 0.5
    assert Simulator(MODEL, LOOSE, trace[2:]).run(Static(1)).deadline_attainment is None


def test_a_trace_may_name_deadlines(tmp_path: Path) -> None:
    rows = [{"t": 0, "input_tokens": 5, "output_tokens": 6, "deadline_ms": 1500}]
    rows += [{"t": 1, "input_tokens": 5, "output_tokens": 6}]
    (tmp_path / "trace.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    assert [arrival.deadline_s for arrival in load_trace(tmp_path / "trace.jsonl")] == [1.5, None]


def test_a_share_of_deadlines_buys_devices_where_the_other_objectives_would_not() -> None:
    # Twice as long as an answer takes by itself on an idle device.
    trace = [replace(a, deadline_s=2 * (a.input_tokens / 1000 + 0.02 * a.output_tokens)) for a in _short_waves()]

    def run(deadline_share: float | None) -> SimulatedRun:
        objectives = replace(LOOSE, deadline_share=deadline_share)
        return Simulator(MODEL, objectives, trace).run(ForecastPolicy(MODEL, objectives, PolicyLimits(ceiling=12)))

    without, with_share = run(None), run(0.95)
    assert without.deadline_attainment is not None
    assert with_share.deadline_attainment is not None
    assert with_share.device_seconds > without.device_seconds
    assert with_share.deadline_attainment > without.deadline_attainment


def _short_waves() -> list[Arrival]:
    return waves(300, low=1.0, high=3.0, period_s=100)


def test_without_such_an_objective_deadlines_change_nothing() -> None:
    trace = _short_waves()
    with_deadlines = [replace(arrival, deadline_s=0.5) for arrival in trace]
    runs = [
        Simulator(MODEL, LOOSE, each).run(ForecastPolicy(MODEL, LOOSE, PolicyLimits(ceiling=12)))
        for each in (trace, with_deadlines)
    ]
    assert runs[0].device_seconds == runs[1].device_seconds


@pytest.mark.parametrize(("met", "shown"), [(9, "90.0 % of 10 deadlines met"), (None, None)])
def test_the_status_tells_of_them(met: int | None, shown: str | None) -> None:
    names = ("devices", "standbys", "running", "waiting", "replaced_workers", "kv_cache_used")
    pool: dict[str, Any] = {**dict.fromkeys(names, 0), "model": "m", "is_resizing": False, "simulated": None}
    pool |= {"workers": [], "resizes": [], "deadlines": {"requests": 10 if met else 0, "met": met or 0}}
    headline = str(status_view(pool, {})[0])
    assert (shown in headline) if shown else ("deadline" not in headline)


@pytest.mark.parametrize("line", ["[1, 2]", '{"t": 0}', '{"t": 0, "input_tokens": 1e999, "output_tokens": 1}', "{oops"])
def test_a_trace_that_cannot_be_read_is_refused(tmp_path: Path, line: str) -> None:
    file = tmp_path / "trace.jsonl"
    file.write_text(line + "\n")
    with pytest.raises(DataError, match="cannot read the trace"):
        load_trace(file)


def test_a_packed_trace_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "trace.jsonl.gz"
    file.write_bytes(gzip.compress(b'{"t": 0, "input_tokens": 1, "output_tokens": 1}\n' * 9)[:-12])
    with pytest.raises(DataError, match="cannot read the trace"):
        load_trace(file)
