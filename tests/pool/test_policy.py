"""Forecasts, the model of misses, the price of a miss, and what the policies make of them."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slarag.backends.pool.allowance import Allowance
from slarag.backends.pool.forecast import Estimate, Forecast
from slarag.backends.pool.jumps import Jumps
from slarag.backends.pool.misses import Lengths, erlang_c, missed_share, throughput
from slarag.backends.pool.observation import Observation, Target
from slarag.backends.pool.policy import ForecastPolicy, PolicyLimits
from slarag.backends.pool.references import PredictedRate, QueueThreshold, Static, TargetOngoing
from slarag.backends.pool.service import Objectives, ServiceModel, StepSample
from slarag.backends.pool.simulator import Simulator
from slarag.backends.pool.trace import Arrival, waves
from slarag.sla.errors import DataError

MODEL = ServiceModel(
    prefill_tokens_per_s=1000.0, step_base_s=0.01, step_per_answer_s=0.001, max_batch_tokens=108, max_sequences=8
)
OBJECTIVES = Objectives(ttft_s=2.0, itl_s=0.15)
LENGTHS = Lengths(input_tokens=400, output_tokens=50)


def seen(**changes: Any) -> Observation:
    nothing = dict.fromkeys(("waiting", "running", "arrivals", "input_tokens", "output_tokens"), 0)
    values: dict[str, Any] = {"now": 0.0, "devices": 2, "interval_s": 5.0, **nothing}
    return Observation(**values | changes)


def rush(requests: int, **changes: Any) -> Observation:
    tokens = {"input_tokens": 100 * requests, "output_tokens": 150 * requests}
    return seen(arrivals=requests, **{**tokens, **changes})


def test_a_forecast_follows_a_trend_and_knows_its_error() -> None:
    forecast = Forecast(1.0)
    for step in range(60):
        forecast.observe(10 + 2 * step, 4.0, 5.0)
    assert forecast.after(5).mean == pytest.approx(128, rel=0.1)
    noisy, steady = Forecast(1.0), Forecast(1.0)
    rng = random.Random(0)
    for _ in range(200):
        noisy.observe(10 + rng.gauss(0, 3), 9.0, 5.0)
        steady.observe(10.0, 0.01, 5.0)
    assert noisy.after(5).mean == pytest.approx(10, abs=1.5)
    assert steady.after(5).sd < noisy.after(5).sd < 3
    assert noisy.after(500).sd > noisy.after(5).sd


def test_a_jump_is_what_lies_far_beyond_the_forecast() -> None:
    jumps = Jumps()
    for _ in range(20):
        jumps.observe(11.0, Estimate(10.0, 1.0), 4.0)
    assert (jumps.share_of_time(2.0), jumps.rate) == (0.0, 0.0)
    jumps.observe(30.0, Estimate(10.0, 1.0), 4.0)
    for _ in range(19):
        jumps.observe(9.0, Estimate(10.0, 1.0), 4.0)
    assert jumps.rate == 30.0
    assert jumps.share_of_time(2.0) == pytest.approx(2 / 40)


def test_erlang_c_is_the_probability_to_wait() -> None:
    # One server: it is busy. Two servers: 2 a² / (2 + a) / 2, by the textbook.
    assert erlang_c(np.array([1.0]), np.array([0.7]))[0] == pytest.approx(0.7)
    assert erlang_c(np.array([2.0]), np.array([1.2]))[0] == pytest.approx(1.2**2 / (2 + 1.2))


@settings(deadline=None)
@given(st.floats(0.1, 30), st.floats(10, 3000), st.floats(1, 300), st.floats(0, 5))
def test_more_devices_never_miss_more_and_more_requests_never_less(
    rate: float, prompt: float, answer: float, variation: float
) -> None:
    sizes = np.arange(1.0, 20.0)
    lengths = Lengths(prompt, answer, variation)
    shares = missed_share(MODEL, OBJECTIVES, np.array([[rate], [1.2 * rate]]), lengths, sizes)
    assert ((shares >= 0) & (shares <= 1)).all()
    assert (np.diff(shares, axis=1) <= 1e-9).all()
    assert (shares[1] >= shares[0] - 1e-9).all()


@pytest.mark.parametrize(("devices", "rate"), [(1, 1.0), (2, 2.5), (3, 4.0)])
def test_the_model_of_misses_agrees_with_the_simulator(devices: int, rate: float) -> None:
    rng, now, trace = random.Random(1), 0.0, list[Arrival]()
    for _ in range(3000):
        now += rng.expovariate(rate)
        trace.append(Arrival(now, max(1, round(rng.expovariate(1 / 400))), max(1, round(rng.expovariate(1 / 50)))))
    run = Simulator(MODEL, OBJECTIVES, trace, devices=devices).run(Static(devices))
    expected = missed_share(MODEL, OBJECTIVES, np.array([rate]), LENGTHS, np.array([float(devices)]))[0]
    assert 1 - run.attainment == pytest.approx(expected, abs=0.035)


def test_a_miss_gets_dearer_when_more_are_missed_than_allowed() -> None:
    def price(met_share: float) -> float:
        allowance = Allowance(0.99, width=4)
        for _ in range(50):
            sizes = np.array([1.0, 2.0, 3.0, 4.0])
            allowance.observe(seen(finished=100, met=round(100 * met_share)), expected_misses=2.0)
            allowance.remember(20.0, sizes, np.array([8.0, 1.0, 0.1, 0.01]))
        return allowance.price(request_s=0.5)

    assert price(1.0) < price(0.99) < price(0.95)


def test_more_devices_are_not_asked_for_where_they_would_serve_less() -> None:
    crowded = replace(MODEL, step_per_peer_s=0.2, max_sequences=64)
    assert throughput(crowded, LENGTHS, np.array([4.0]))[0] < throughput(crowded, LENGTHS, np.array([1.0]))[0] * 2
    for model, grows in ((replace(MODEL, max_sequences=64), True), (crowded, False)):
        policy = ForecastPolicy(model, Objectives(ttft_s=1, itl_s=1.0), PolicyLimits(ceiling=8))
        for _ in range(5):
            wanted = policy.decide(rush(100, running=8, waiting=50))
        assert (wanted.devices > 2) == grows


def test_nothing_is_decided_while_a_resize_runs_and_limits_hold() -> None:
    policy = ForecastPolicy(MODEL, OBJECTIVES, PolicyLimits(floor=2, ceiling=5))
    assert policy.decide(rush(1000, devices=3, waiting=500, is_resizing=True)).devices == 3
    assert policy.decide(rush(1000, devices=3, waiting=500)).devices == 5
    quiet = ForecastPolicy(MODEL, OBJECTIVES, PolicyLimits(floor=2, ceiling=5))
    assert [quiet.decide(seen(devices=4, now=5.0 * step)).devices for step in range(20)][-1] == 2


@pytest.mark.parametrize(("cache_used", "least"), [(0.0, 1), (0.4, 2), (0.6, 3), (0.95, 4)])
def test_a_pool_does_not_shrink_to_where_its_cache_has_no_room(cache_used: float, least: int) -> None:
    policy = ForecastPolicy(MODEL, OBJECTIVES, PolicyLimits(ceiling=5))
    wanted = [policy.decide(seen(devices=4, now=5.0 * at, cache_used=cache_used)).devices for at in range(20)][-1]
    assert wanted == least


def test_standbys_follow_the_forecast() -> None:
    slow = replace(MODEL, boot_s=60.0)
    policy = ForecastPolicy(slow, OBJECTIVES, PolicyLimits(ceiling=20, most_standbys=6))
    calm = max(policy.decide(rush(5, now=5.0 * k, devices=2)).standbys or 0 for k in range(40))
    wild = max(policy.decide(rush(40 if k % 3 else 5, now=5.0 * k, devices=2)).standbys or 0 for k in range(40))
    assert 1 <= calm < wild <= 6


def test_a_quiet_pool_ends_when_a_cold_start_can_be_afforded_or_it_was_quiet_for_long() -> None:
    limits = PolicyLimits(floor=0, ceiling=4, idle_s=200.0)
    waiting = ForecastPolicy(replace(MODEL, cold_start_s=20.0), OBJECTIVES, limits)
    targets = [waiting.decide(seen(now=5.0 * k, devices=1)).devices for k in range(41)]
    assert targets.index(0) == 39
    quick = ForecastPolicy(replace(MODEL, cold_start_s=1.0), OBJECTIVES, limits)
    assert [quick.decide(seen(now=5.0 * k, devices=1)).devices for k in range(41)].index(0) < 20
    assert waiting.decide(seen(devices=0)).devices == 0
    assert waiting.decide(seen(devices=0, waiting=1)).devices >= 1
    never = ForecastPolicy(MODEL, OBJECTIVES, PolicyLimits(floor=1))
    assert 0 not in {never.decide(seen(now=5.0 * k, devices=1)).devices for k in range(200)}


def test_a_service_model_is_fitted_to_measured_steps() -> None:
    samples = [
        StepSample(tokens, answers, 0.03 + tokens / 4000 + 0.002 * answers)
        for tokens, answers in ((0, 1), (0, 8), (100, 0), (400, 0), (512, 0))
    ]
    model = ServiceModel.fit(samples, max_batch_tokens=256, scale_up_s=0.2)
    assert model.prefill_tokens_per_s == pytest.approx(4000)
    assert (model.step_base_s, model.step_per_answer_s) == pytest.approx((0.03, 0.002))
    assert (model.max_batch_tokens, model.scale_up_s, model.overlap) == (256, 0.2, 0.0)
    # Beside a part of a prompt of 0.1 s, half of the answers' 0.016 s is saved.
    mixed = [*samples, StepSample(400, 8, 0.03 + 0.1 + 0.016 - 0.008)]
    assert ServiceModel.fit(mixed).overlap == pytest.approx(0.5)
    assert replace(model, overlap=0.5).step_seconds(400, 8, 1) == pytest.approx(mixed[-1].seconds)
    wider = [*samples, *(replace(sample, devices=3, seconds=sample.seconds + 0.02) for sample in samples)]
    assert ServiceModel.fit(wider).step_per_peer_s == pytest.approx(0.01)
    flat = ServiceModel.fit([replace(sample, seconds=0.05 - 0.001 * sample.answers) for sample in samples])
    assert flat.step_per_answer_s <= 1e-6
    with pytest.raises(DataError, match="do not fix a service model"):
        ServiceModel.fit(samples[:2])


def test_references_do_what_they_say() -> None:
    assert Static(3).decide(seen(devices=1)) == Target(3)
    queue = QueueThreshold(4, ceiling=3)
    assert [queue.decide(seen(running=n)).devices for n in (9, 6, 3)] == [3, 2, 1]
    ray = TargetOngoing(2.0)
    assert [ray.decide(seen(now=float(t), running=10)) for t in range(5)][-1] == Target(5)
    dynamo = PredictedRate(1.0)
    assert dynamo.decide(seen(arrivals=50)) == Target(3)


def test_the_policy_holds_its_target_with_less_than_a_pool_of_the_size_of_the_peak() -> None:
    trace = waves(600, low=0.5, high=4, period_s=300)
    policy = ForecastPolicy(MODEL, replace(OBJECTIVES, share=0.95), PolicyLimits(ceiling=16))
    run = Simulator(MODEL, OBJECTIVES, trace, devices=2).run(policy)
    static = Simulator(MODEL, OBJECTIVES, trace, devices=run.peak_devices).run(Static(run.peak_devices))
    assert run.attainment >= 0.85
    assert run.device_seconds < 0.8 * static.device_seconds
