"""What a resize takes is learnt from those that are made, by the driver, the simulator and the policy alike."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slarag.backends.pool.driver import HttpPool
from slarag.backends.pool.observation import Observation, Switch, Target
from slarag.backends.pool.policy import ForecastPolicy, PolicyLimits
from slarag.backends.pool.service import Objectives, ServiceModel
from slarag.backends.pool.simulator import Simulator
from slarag.backends.pool.switching import LEARNT_SHARE, relearnt
from slarag.backends.pool.trace import waves

QUICK = ServiceModel(
    prefill_tokens_per_s=1000.0,
    step_base_s=0.01,
    step_per_answer_s=0.001,
    max_batch_tokens=108,
    max_sequences=8,
    scale_up_s=1.0,
    scale_down_s=1.0,
)
SLOW = replace(QUICK, scale_up_s=40.0, scale_down_s=30.0)
OBJECTIVES = Objectives(ttft_s=2.0, itl_s=0.15)
UP, DOWN = Switch(source=2, target=3, seconds=40.0, standbys=1), Switch(source=3, target=2, seconds=30.0, standbys=1)


@given(st.lists(st.floats(0.01, 1000.0), min_size=1, max_size=30))
def test_what_is_believed_lies_between_what_was_believed_and_what_was_seen(seconds: list[float]) -> None:
    learnt = relearnt(QUICK, [replace(UP, seconds=value) for value in seconds])
    assert min(1.0, *seconds) - 1e-9 <= learnt.scale_up_s <= max(1.0, *seconds) + 1e-9
    assert learnt == replace(QUICK, scale_up_s=learnt.scale_up_s)


def test_each_direction_is_learnt_from_its_own_resizes_and_the_last_ones_count_most() -> None:
    once = relearnt(QUICK, [UP])
    assert (once.scale_up_s, once.scale_down_s) == (pytest.approx(1 + 39 * LEARNT_SHARE), 1.0)
    assert relearnt(QUICK, [UP, DOWN]) == relearnt(relearnt(QUICK, [UP]), [DOWN])
    changed = [*[UP] * 9, *[replace(UP, seconds=4.0)] * 9]
    assert relearnt(QUICK, changed).scale_up_s < 6 < relearnt(QUICK, changed[::-1]).scale_up_s
    assert relearnt(SLOW, [UP, DOWN] * 50) == SLOW


@pytest.mark.parametrize(
    "switch",
    [
        replace(UP, source=0),
        replace(DOWN, target=0),
        replace(UP, target=2),
        replace(UP, target=4, standbys=1),
    ],
    ids=["start", "end", "nothing", "boot"],
)
def test_what_took_more_than_a_resize_or_was_none_is_not_learnt_from(switch: Switch) -> None:
    assert relearnt(QUICK, [switch]) == QUICK


def test_a_pool_that_does_not_tell_its_standbys_is_learnt_from_all_the_same() -> None:
    assert relearnt(QUICK, [replace(UP, target=9, standbys=None)]).scale_up_s > 1


def sizes_of(policy: ForecastPolicy, switches: tuple[Switch, ...]) -> list[int]:
    """What the policy asks for while requests become more and more; it saw `switches` at the start."""
    sizes: list[int] = []
    for step in range(16):
        load = {"arrivals": 4 + step, "input_tokens": 100 * (4 + step), "output_tokens": 100 * (4 + step)}
        told: dict[str, Any] = {"devices": 2, "waiting": 0, "running": 2, "interval_s": 5.0, **load}
        seen = Observation(now=5.0 * step, switches=switches if step == 0 else (), **told)
        sizes.append(policy.decide(seen).devices)
    return sizes


def test_the_policy_decides_by_what_its_resizes_took() -> None:
    def policy(model: ServiceModel) -> ForecastPolicy:
        return ForecastPolicy(model, OBJECTIVES, PolicyLimits(ceiling=16))

    learnt = sizes_of(policy(QUICK), (UP, DOWN) * 60)
    assert learnt == sizes_of(policy(SLOW), ())
    assert learnt != sizes_of(policy(QUICK), ())


def test_the_simulator_tells_what_its_resizes_took() -> None:
    class Watched(ForecastPolicy):
        def decide(self, seen: Observation) -> Target:
            switches.extend(seen.switches)
            return super().decide(seen)

    switches: list[Switch] = []
    policy = Watched(QUICK, OBJECTIVES, PolicyLimits(ceiling=8))
    run = Simulator(SLOW, OBJECTIVES, waves(400, low=1, high=6, period_s=200)).run(policy)
    assert 2 <= len(switches) <= run.resizes
    for switch in switches:
        ready = switch.target < switch.source or switch.target - switch.source <= (switch.standbys or 0)
        expected = SLOW.scale_down_s if switch.target < switch.source else SLOW.scale_up_s
        assert switch.seconds == (expected if ready else SLOW.scale_up_s + SLOW.boot_s)


def test_the_driver_times_the_resizes_that_it_asks_for() -> None:
    class Clock:
        now = 100.0

    async def handle(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/metrics":
            return httpx.Response(200, text=f"slarag:devices {state['devices']}\nslarag:standbys 1\n")
        Clock.now += 7.0
        if state["fails"]:
            return httpx.Response(409, text="no")
        state["devices"] = 3
        return httpx.Response(200, json={})

    async def after(driver: HttpPool, devices: int) -> tuple[Switch, ...]:
        await driver.scale(Target(devices))
        while (seen := await driver.observe()).is_resizing:  # noqa: ASYNC110
            await asyncio.sleep(0)
        return seen.switches

    async def main() -> None:
        transport = httpx.MockTransport(handle)
        driver = HttpPool("http://pool", devices=2, transport=transport, clock=lambda: Clock.now)
        assert (await driver.observe()).switches == ()
        state["fails"] = True
        assert await after(driver, 3) == ()
        state["fails"] = False
        assert await after(driver, 3) == (Switch(source=2, target=3, seconds=7.0, standbys=1),)
        assert (await driver.observe()).switches == ()
        assert await after(driver, 3) == ()
        await driver.aclose()

    state: dict[str, Any] = {"devices": 2, "fails": False}
    asyncio.run(main())
