"""The simulator against what can be worked out by hand, and traces."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slarag.backends.pool.observation import Observation, Target
from slarag.backends.pool.service import Objectives, ServiceModel
from slarag.backends.pool.simulator import Simulator
from slarag.backends.pool.trace import Arrival, load_trace, waves
from slarag.sla.errors import DataError

MODEL = ServiceModel(
    prefill_tokens_per_s=1000.0,
    step_base_s=0.01,
    step_per_answer_s=0.001,
    max_batch_tokens=108,
    max_sequences=8,
    scale_up_s=3.0,
    scale_down_s=2.0,
)
OBJECTIVES = Objectives(ttft_s=2.0, itl_s=0.15)


class Script:
    """Decides what it was told to, and keeps what it saw."""

    def __init__(self, *sizes: int) -> None:
        self.sizes = list(sizes)
        self.seen: list[Observation] = []

    def decide(self, seen: Observation) -> Target:
        self.seen.append(seen)
        return Target(self.sizes.pop(0) if self.sizes else seen.devices)


def test_one_request_takes_its_prefill_and_its_steps() -> None:
    policy = Script()
    run = Simulator(MODEL, OBJECTIVES, [Arrival(0.0, 500, 101)], interval_s=1.0).run(policy)
    # Four steps of 108 tokens and one of 68, each with its base.
    assert run.ttft_p99_s == pytest.approx(0.5 + 5 * 0.01)
    assert run.device_seconds == pytest.approx(0.55 + 100 * 0.011)
    assert run.attainment == 1.0
    assert run.ttfts == pytest.approx([0.55])
    assert run.itls == pytest.approx([0.011])


def test_a_short_prompt_takes_as_long_as_its_tokens_do() -> None:
    run = Simulator(MODEL, OBJECTIVES, [Arrival(0.0, 30, 1)]).run(Script())
    assert run.ttft_p99_s == pytest.approx(0.03 + 0.01)


def test_prompts_that_wait_together_share_a_step() -> None:
    run = Simulator(MODEL, OBJECTIVES, [Arrival(0.0, 100, 1), Arrival(0.01, 30, 1), Arrival(0.02, 30, 1)]).run(Script())
    # The two that come during the first step are both in the second.
    assert sorted(run.ttfts) == pytest.approx([0.11, 0.11 + 0.07 - 0.02, 0.11 + 0.07 - 0.01])


def test_a_prompt_waits_for_the_step_that_runs_and_the_one_that_is_planned() -> None:
    run = Simulator(MODEL, OBJECTIVES, [Arrival(0.0, 90, 1001), Arrival(1.005, 1000, 1)]).run(Script())
    # It comes in the middle of a step of 0.011 s; one more is planned. Then nine parts of 107 and one of 37.
    begins = 0.1 + 0.011 * 84
    assert max(run.ttfts) == pytest.approx(begins + 1.0 + 10 * 0.011 - 1.005)
    slowed = replace(OBJECTIVES, ttft_s=begins + 1.1 - 1.005)
    assert Simulator(MODEL, slowed, [Arrival(0.0, 90, 1001), Arrival(1.005, 1000, 1)]).run(Script()).attainment == 0.5


def test_a_full_batch_takes_the_next_request_when_an_answer_has_ended() -> None:
    model = replace(MODEL, max_sequences=1)
    run = Simulator(model, OBJECTIVES, [Arrival(0.0, 90, 11), Arrival(0.01, 90, 1)]).run(Script())
    # The step after the last token of the first is planned before that token is there, without the second.
    assert max(run.ttfts) == pytest.approx(0.1 + 10 * 0.011 + 0.1 - 0.01)


def test_what_a_step_costs_can_be_said_by_something_else() -> None:
    class Flat:
        def seconds(self, prompt_tokens: float, answers: float, devices: float) -> np.ndarray:
            return np.asarray(0.5 / devices + 0.0 * (prompt_tokens + answers))

    run = Simulator(replace(MODEL, cost=Flat()), OBJECTIVES, [Arrival(0.0, 200, 3)], devices=2).run(Script())
    assert run.ttft_p99_s == pytest.approx(2 * 0.25)
    assert run.itls == pytest.approx([0.25])


def test_a_new_device_serves_when_the_resize_is_done_and_counts_from_the_command() -> None:
    policy = Script(2)
    trace = [Arrival(0.0, 20_000, 1), Arrival(5.0, 1000, 1)]
    run = Simulator(MODEL, OBJECTIVES, trace, interval_s=1.0).run(policy)
    assert [o.is_resizing for o in policy.seen[1:5]] == [True, True, False, False]
    # From second 1, when it was asked for; the second request ran on the new device.
    ends = 20.0 + 186 * 0.01
    assert run.device_seconds == pytest.approx(ends + ends - 1.0)
    assert run.attainment == 0.5


def test_prompts_that_wait_are_dealt_over_new_devices() -> None:
    trace = [Arrival(0.1 * k, 1000, 1) for k in range(8)]
    run = Simulator(replace(MODEL, scale_up_s=0.5), OBJECTIVES, trace, interval_s=1.0).run(Script(2))
    # A prompt takes 1.1 s. At 1.5 s 6.6 of them are left, and of those one device gets 3.6.
    assert run.device_seconds == pytest.approx(1.0 + 2 * (0.5 + 3.6 * 1.1), abs=0.1)


def test_answers_of_a_leaving_device_go_on_elsewhere() -> None:
    trace = [Arrival(0.0, 100, 2001), Arrival(0.0, 100, 2001)]
    run = Simulator(MODEL, OBJECTIVES, trace, devices=2, interval_s=1.0).run(Script(1))
    assert run.requests == 2
    assert run.attainment == 1.0
    alone = 3.0 - 0.11
    together = (2000 - alone / 0.011) * 0.012
    assert run.device_seconds == pytest.approx(2 * 3.0 + together, rel=1e-3)


def test_a_prompt_of_a_leaving_device_goes_on_where_it_stopped() -> None:
    trace = [Arrival(0.0, 3000, 2), Arrival(0.0, 5000, 2)]
    run = Simulator(MODEL, replace(OBJECTIVES, ttft_s=9.0), trace, devices=2, interval_s=1.0).run(Script(1))
    # Eight seconds of work, three of them done by both devices at once.
    assert max(run.ttfts) == pytest.approx(8.0 + 0.8 - 3.0, abs=0.2)
    assert run.attainment == 1.0


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 5), st.integers(1, 6), st.lists(st.integers(1, 6), max_size=6))
def test_every_request_is_served_whatever_is_decided(seed: int, devices: int, sizes: list[int]) -> None:
    trace = waves(60, low=1, high=3, period_s=20, seed=seed)
    run = Simulator(MODEL, OBJECTIVES, trace, devices=devices).run(Script(*sizes))
    assert run.requests == len(trace)
    assert 0 <= run.attainment <= 1


def test_a_pool_that_refuses_while_it_switches_misses_what_comes_then() -> None:
    trace = [Arrival(0.2 * k, 100, 2) for k in range(50)]
    live = Simulator(MODEL, OBJECTIVES, trace, interval_s=1.0).run(Script(2))
    refusing = Simulator(MODEL, OBJECTIVES, trace, interval_s=1.0, resize="refusing").run(Script(2))
    assert (live.refused, live.attainment) == (0, 1.0)
    # Three seconds of switching at five requests a second.
    assert refusing.refused == pytest.approx(15, abs=1)
    assert refusing.attainment == 1 - refusing.refused / 50


def test_a_pool_of_no_device_wakes_up_for_a_request() -> None:
    model = replace(MODEL, cold_start_s=7.0)
    trace = [Arrival(0.0, 100, 2), Arrival(20.0, 100, 2), Arrival(21.0, 100, 2)]
    run = Simulator(model, Objectives(ttft_s=7.2, itl_s=1.0), trace, interval_s=1.0).run(Script(0))
    assert (run.cold_starts, run.requests, run.attainment) == (1, 3, 1.0)
    # It left after two seconds of switching, and counts again from the command.
    assert run.device_seconds == pytest.approx(1 + 2 + 7 + 0.2 + 0.022, abs=0.05)


def test_devices_without_a_standby_boot_first() -> None:
    model = replace(MODEL, boot_s=10.0)
    trace = [Arrival(0.0, 30_000, 1)]
    policies = [Script(3), Script(3)]
    for policy, standbys in zip(policies, (2, 1), strict=True):
        Simulator(model, OBJECTIVES, trace, standbys=standbys, interval_s=1.0).run(policy)
    resizing = [sum(o.is_resizing for o in policy.seen) for policy in policies]
    assert resizing == [2, 12]


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
