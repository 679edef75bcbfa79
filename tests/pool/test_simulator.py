"""The simulator against what can be worked out by hand, and policies in it."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slarag.backends.pool.comparison import compare_policies
from slarag.backends.pool.forecast import Forecast
from slarag.backends.pool.observation import Observation
from slarag.backends.pool.policy import ForecastPolicy, PolicyLimits
from slarag.backends.pool.references import PredictedRate, QueueThreshold, Static, TargetOngoing
from slarag.backends.pool.service import Objectives, ServiceModel
from slarag.backends.pool.simulator import Simulator
from slarag.backends.pool.trace import Arrival, load_trace, waves
from slarag.sla.errors import DataError

MODEL = ServiceModel(
    prefill_tokens_per_s=1000.0,
    step_base_s=0.01,
    step_per_answer_s=0.001,
    chunk_tokens=100,
    max_answers=8,
    scale_up_s=3.0,
    scale_down_s=2.0,
)
OBJECTIVES = Objectives(ttft_s=2.0, itl_s=0.15)


class Script:
    """Decides what it was told to, and keeps what it saw."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = list(sizes)
        self.seen: list[Observation] = []

    def decide(self, seen: Observation) -> int:
        self.seen.append(seen)
        return self.sizes.pop(0) if self.sizes else seen.devices


def seen(**changes: Any) -> Observation:
    nothing = dict.fromkeys(("waiting", "running", "arrivals", "input_tokens", "output_tokens"), 0)
    values: dict[str, Any] = {"now": 0.0, "devices": 2, "interval_s": 5.0, **nothing}
    return Observation(**values | changes)


def test_one_request_takes_its_prefill_and_its_steps() -> None:
    policy = Script()
    run = Simulator(MODEL, OBJECTIVES, [Arrival(0.0, 500, 101)], interval_s=1.0).run(policy)
    assert run.ttft_p99_s == pytest.approx(0.5)
    assert run.device_seconds == pytest.approx(0.5 + 100 * 0.011)
    assert run.attainment == 1.0


def test_a_prompt_slows_the_answers_beside_it_and_they_slow_it() -> None:
    run = Simulator(MODEL, OBJECTIVES, [Arrival(0.0, 100, 1001), Arrival(1.0, 1000, 1)]).run(Script())
    # Ten parts of 0.1 s, each in a step of 0.011 s.
    assert run.ttft_p99_s == pytest.approx(0.1)
    slowed = Simulator(MODEL, Objectives(ttft_s=1.105), [Arrival(0.0, 100, 1001), Arrival(1.0, 1000, 1)]).run(Script())
    assert slowed.attainment == 0.5


def test_a_new_device_serves_when_the_resize_is_done_and_counts_from_the_command() -> None:
    policy = Script(2)
    trace = [Arrival(0.0, 20_000, 1), Arrival(5.0, 1000, 1)]
    run = Simulator(MODEL, OBJECTIVES, trace, interval_s=1.0).run(policy)
    assert [o.is_resizing for o in policy.seen[1:5]] == [True, True, False, False]
    # From second 1, when it was asked for; the second request ran on the new device.
    assert run.device_seconds == pytest.approx(20.0 + 19.0)
    assert run.attainment == 0.5


def test_answers_of_a_leaving_device_go_on_elsewhere() -> None:
    trace = [Arrival(0.0, 100, 2001), Arrival(0.0, 100, 2001)]
    run = Simulator(MODEL, OBJECTIVES, trace, devices=2, interval_s=1.0).run(Script(1))
    assert run.requests == 2
    assert run.attainment == 1.0
    alone = 3.0 - 0.1
    together = (2000 - alone / 0.011) * 0.012
    assert run.device_seconds == pytest.approx(2 * 3.0 + together, rel=1e-3)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 5), st.integers(1, 6), st.lists(st.integers(1, 6), max_size=6))
def test_every_request_is_served_whatever_is_decided(seed: int, devices: int, sizes: list[int]) -> None:
    trace = waves(60, low=1, high=3, period_s=20, seed=seed)
    run = Simulator(MODEL, OBJECTIVES, trace, devices=devices).run(Script(*sizes))
    assert run.requests == len(trace)
    assert 0 <= run.attainment <= 1


def test_forecasts_follow_a_trend_and_bound_its_noise() -> None:
    forecast = Forecast()
    for step in range(40):
        forecast.observe(10 + 2 * step)
    assert forecast.mean(1) == pytest.approx(90, rel=0.1)
    assert forecast.upper(1, 0.95) >= forecast.mean(1)
    flat = Forecast()
    for step in range(200):
        flat.observe(10 + (5 if step % 2 else -5))
    assert flat.mean(3) == pytest.approx(10, abs=4)
    assert flat.upper(3, 0.95) > 14
    assert Forecast().mean(5) == 0


def test_more_devices_are_not_asked_for_where_they_would_serve_less() -> None:
    crowded = ServiceModel(
        prefill_tokens_per_s=1000, step_base_s=0.01, step_per_answer_s=0.001, step_per_peer_s=0.2, chunk_tokens=100
    )
    limits = PolicyLimits(ceiling=8)
    for model, grows in ((MODEL, True), (crowded, False)):
        policy = ForecastPolicy(model, Objectives(ttft_s=1, itl_s=1.0), limits)
        for _ in range(5):
            rush = {"arrivals": 100, "input_tokens": 10_000, "output_tokens": 15_000, "waiting": 50}
            wanted = policy.decide(seen(devices=2, running=8, **rush))
        assert (wanted > 2) == grows


def test_nothing_is_decided_while_a_resize_runs_and_limits_hold() -> None:
    policy = ForecastPolicy(MODEL, OBJECTIVES, PolicyLimits(floor=2, ceiling=5))
    rush = {"arrivals": 1000, "input_tokens": 500_000, "waiting": 500}
    assert policy.decide(seen(devices=3, is_resizing=True, **rush)) == 3
    assert policy.decide(seen(devices=3, **rush)) == 5
    quiet = ForecastPolicy(MODEL, OBJECTIVES, PolicyLimits(floor=2, ceiling=5))
    sizes = [quiet.decide(seen(devices=4, now=5.0 * step)) for step in range(20)]
    assert set(sizes) == {2}


def test_references_do_what_they_say() -> None:
    assert Static(3).decide(seen(devices=1)) == 3
    queue = QueueThreshold(4, ceiling=3)
    assert [queue.decide(seen(running=n)) for n in (9, 6, 3)] == [3, 2, 1]
    ray = TargetOngoing(2.0)
    sizes = [ray.decide(seen(now=float(t), running=10)) for t in range(5)]
    assert sizes[-1] == 5
    dynamo = PredictedRate(1.0)
    assert dynamo.decide(seen(arrivals=50)) == 3


def test_the_policy_holds_its_target_with_less_than_a_pool_of_the_size_of_the_peak() -> None:
    trace = waves(600, low=0.5, high=4, period_s=300)
    policy = ForecastPolicy(MODEL, OBJECTIVES, PolicyLimits(ceiling=16, margin=0.6))
    run = Simulator(MODEL, OBJECTIVES, trace, devices=2).run(policy)
    static = Simulator(MODEL, OBJECTIVES, trace, devices=run.peak_devices).run(Static(run.peak_devices))
    assert run.attainment >= 0.95
    assert run.device_seconds < 0.8 * static.device_seconds


def test_traces_are_read_plain_and_packed_and_refused_when_broken(tmp_path: Path) -> None:
    rows = [{"t": 2.0, "input_tokens": 5, "output_tokens": 0}, {"t": 1.0, "input_tokens": 3, "output_tokens": 4}]
    text = "\n".join(json.dumps(row) for row in rows)
    plain, packed = tmp_path / "a.jsonl", tmp_path / "a.jsonl.gz"
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    expected = [Arrival(1.0, 3, 4), Arrival(2.0, 5, 1)]
    assert load_trace(plain) == load_trace(packed) == expected
    assert load_trace(plain, until_s=1.5) == expected[:1]
    plain.write_text('{"t": 1}')
    with pytest.raises(DataError, match="cannot read the trace"):
        load_trace(plain)


def test_the_comparison_keeps_each_policys_cheapest_run_that_attains() -> None:
    trace = waves(120, low=0.5, high=3, period_s=60)
    objectives = Objectives(ttft_s=4.0, itl_s=0.15, share=0.9)
    found = compare_policies(MODEL, objectives, trace, ceiling=6)
    assert set(found) == {"forecast", "static", "queue_threshold", "target_ongoing", "predicted_rate"}
    runs = [run for run in found.values() if run is not None]
    assert runs
    assert all(run.attainment >= 0.9 and run.requests == len(trace) for run in runs)
    impossible = compare_policies(MODEL, Objectives(ttft_s=0.001), trace, ceiling=2)
    assert set(impossible.values()) == {None}
