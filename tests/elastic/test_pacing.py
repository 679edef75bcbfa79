"""Simulated devices: profiles, the roofline by hand, and a real pool that takes as long as it says."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slarag.backends.elastic.cluster.cluster import Cluster
from slarag.backends.elastic.cluster.options import PoolOptions
from slarag.backends.elastic.errors import DeviceMemoryError
from slarag.backends.elastic.pacing import (
    DeviceProfile,
    Pacer,
    SimulatedDevice,
    load_device_profile,
    shipped_profiles,
)
from slarag.backends.elastic.roofline import ProfiledCost, step_work
from slarag.backends.pool.service import StepSample
from slarag.sla.errors import DataError

from .conftest import TINY

SIZES: dict[str, Any] = {"page_bytes": 4096, "kv_blocks": 32, "block_tokens": 8, "max_batch_tokens": 64, "standbys": 0}
ROUND = DeviceProfile(
    name="round",
    memory_bytes=1e8,
    flops_per_s=1e12,
    memory_bytes_per_s=1e11,
    link_bytes_per_s=1e10,
    step_overhead_s=0.05,
)


def test_the_shipped_profiles_are_those_of_two_accelerators() -> None:
    assert shipped_profiles() == ["ascend_910b", "h200"]
    ascend, h200 = map(load_device_profile, shipped_profiles())
    assert (ascend.name, h200.memory_bytes) == ("Ascend 910B", 141e9)
    assert ascend.flops_per_s < h200.flops_per_s < 1e15


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x", "missing or unknown flops_per_s"),
        ("- 1", "missing or unknown"),
        ("a: [", "cannot read the device profile"),
        (json.dumps({**ROUND.__class__.__dataclass_fields__, "colour": 1}, default=str), "colour"),
    ],
)
def test_a_profile_that_is_wrong_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "device.yaml"
    file.write_text(text)
    with pytest.raises(DataError, match=message):
        load_device_profile(str(file))


def test_a_profile_with_a_number_that_cannot_be_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "device.yaml"
    values = {name: getattr(ROUND, name) for name in ROUND.__class__.__dataclass_fields__}
    file.write_text(json.dumps({**values, "flops_per_s": -1}))
    with pytest.raises(DataError, match="flops_per_s is -1"):
        load_device_profile(str(file))
    file.write_text(json.dumps(values))
    assert load_device_profile(str(file)) == ROUND
    with pytest.raises(DataError, match="ascend_910b, h200"):
        load_device_profile("h300")


def test_the_work_of_a_step_by_hand() -> None:
    # One token with 9 before it. Three layers: q, k, v and o are 64 x (64 + 32 + 32 + 64), a router 64 x 8, and two of
    # eight experts of 3 x 64 x 32; the vocabulary is 320 x 64, the cache 2 x 32 numbers a token and layer.
    work = step_work(TINY, "float32", [(9, 1)], devices=1)
    shared, expert = 3 * (64 * 192 + 64 * 8), 3 * 64 * 32
    assert work.flops == 2 * (shared + 3 * 2 * expert) + 4 * 10 * 64 * 3 + 2 * 320 * 64
    assert work.memory_bytes == 4 * (shared + 320 * 64 + 3 * 2 * expert + 2 * 32 * 3 * 10)
    assert work.link_bytes == 0
    busy = max(work.flops / 1e12, work.memory_bytes / 1e11)
    assert work.seconds_on(ROUND) == pytest.approx(busy + 0.05)


def test_over_more_devices_each_reads_fewer_experts_and_sends_more() -> None:
    works = [step_work(TINY, "bfloat16", [(50, 1)] * 16, devices=n) for n in (1, 2, 4)]
    read, sent = [w.memory_bytes for w in works], [w.link_bytes for w in works]
    assert read == sorted(read, reverse=True)
    assert sent == sorted(sent)
    assert works[0].flops == works[2].flops


def test_the_simulators_steps_are_those_of_the_pacer() -> None:
    device = SimulatedDevice(profile=ROUND, time_scale=3.0, stands_for=TINY)
    cost = ProfiledCost(device=device, config=TINY, dtype="float32", prompt_tokens=20, context_tokens=31)
    for devices in (1, 2, 4):
        # A whole prompt of 20 tokens beside four answers, each with 30 tokens before its newest.
        step = step_work(TINY, "bfloat16", [(0, 20), *[(30, 1)] * 4], devices=devices)
        assert float(cost.seconds(20, 4, devices)) == pytest.approx(3.0 * step.seconds_on(ROUND), rel=1e-3)
    sizes = np.array([1.0, 2.0, 4.0])
    assert cost.seconds(20, 4.0, sizes) == pytest.approx([float(cost.seconds(20, 4, n)) for n in (1, 2, 4)])
    samples = [
        StepSample(20, b, float(cost.seconds(20, b, 2)) + extra, 2) for b, extra in ((1, 0.1), (2, 0.2), (3, 0.9))
    ]
    assert cost.measured(samples).extra_s == pytest.approx(0.2)
    assert cost.measured([replace(sample, seconds=0.0) for sample in samples]).extra_s == 0.0


def test_a_step_that_was_too_slow_is_counted_as_late() -> None:
    pacer = Pacer(SimulatedDevice(profile=ROUND), lambda _: None)
    assert pacer.wait(step_work(TINY, "float32", [(0, 4)], devices=1), started=time.monotonic() - 1.0) >= 1.0
    assert pacer.late_s >= 1.0 - 0.06


def test_a_simulated_device_survives_its_way_to_a_worker() -> None:
    for sizes in (None, TINY):
        device = SimulatedDevice(profile=ROUND, time_scale=2.0, memory_scale=0.5, stands_for=sizes)
        assert SimulatedDevice.from_message(json.loads(json.dumps(device.to_message()))) == device
        assert device.capacity_bytes == 50_000_000


def test_a_pool_of_simulated_devices_takes_the_modelled_time_at_once(tiny_folder: Path) -> None:
    device = SimulatedDevice(profile=ROUND, time_scale=2.0)

    async def main() -> None:
        cluster = await Cluster.start(PoolOptions(model=tiny_folder, devices=3, simulated=device, **SIZES))
        try:
            step = {"segments": [[0, 0, [1, 2, 3], 0, [1]]], "sample": [[]], "forget": []}
            started = time.monotonic()
            replies = await asyncio.gather(*(cluster.tell(d, "step", **step) for d in cluster.devices.values()))
            elapsed = time.monotonic() - started
            modelled = 2 * step_work(TINY, "float32", [(0, 3)], devices=3).seconds_on(ROUND)
            assert min(reply["seconds"] for reply in replies) >= modelled
            assert elapsed >= modelled
            # Each answers its peers' calls while it waits, so that they do not take turns.
            assert len({reply["sampled"][0][0] for reply in replies}) == 1
        finally:
            await cluster.aclose()

    asyncio.run(main())


def test_a_model_that_does_not_fit_the_profiles_memory_is_refused(tiny_folder: Path) -> None:
    small = SimulatedDevice(profile=replace(ROUND, memory_bytes=1e5))

    async def main() -> None:
        with pytest.raises(DeviceMemoryError):
            await Cluster.start(PoolOptions(model=tiny_folder, devices=1, simulated=small, **SIZES))

    asyncio.run(main())
