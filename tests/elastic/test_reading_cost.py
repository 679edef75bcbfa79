"""Simulated devices that read: the roofline by hand, and a real pool that takes as long as it says."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from slarag.backends.elastic.calibration import calibrated_model
from slarag.backends.elastic.cluster.reader_options import ReaderOptions
from slarag.backends.elastic.http.app import build_app
from slarag.backends.elastic.models.config import Qwen3MoeConfig
from slarag.backends.elastic.models.reader import ReaderLayout
from slarag.backends.elastic.pacing import DeviceProfile, SimulatedDevice
from slarag.backends.elastic.reading_cost import ReadingCost, ReadingWork
from slarag.backends.elastic.serve.reading import Question, ReadingEngine
from slarag.backends.reader.config import EncoderConfig
from slarag.backends.reader.model import Reader
from slarag.backends.reader.store import ReaderSettings, save_reader
from slarag.sla.errors import ConfigurationError
from slarag.sla.evidence import Passage

HIDDEN, LAYERS, INNER, HEADS = 384, 2, 64, 130
DENSE = EncoderConfig(num_layers=LAYERS, intermediate_size=INNER)
ROUTED = EncoderConfig(
    num_layers=LAYERS, intermediate_size=INNER, experts=4, top_k=1, shared_size=32, expert_size=32, skip="layer"
)
ROUND = DeviceProfile(
    name="round",
    memory_bytes=1e9,
    flops_per_s=1e9,
    memory_bytes_per_s=1e9,
    link_bytes_per_s=1e9,
    step_overhead_s=0.05,
)
PASSAGES = tuple(Passage(passage_id=str(n), document_id="0", text=f"Tower {n} is of stone.") for n in range(3))


def layout_of(folder: Path, config: EncoderConfig) -> ReaderLayout:
    torch.manual_seed(0)
    save_reader(Reader(config), ReaderSettings(), folder)
    return ReaderLayout.of(folder, page_bytes=4096, max_batch_tokens=512, low_precision=False)


def test_the_work_of_a_dense_step_by_hand(tmp_path: Path) -> None:
    work = ReadingWork(layout_of(tmp_path, DENSE)).of_windows([(10, 1.0), (20, 1.0)], devices=3)
    # A token: q, k, v and output, two products of the feed-forward block, attention over its window, and the heads.
    every = LAYERS * (4 * HIDDEN**2 + 2 * HIDDEN * INNER) + HIDDEN * HEADS
    assert work.flops == pytest.approx(2 * (30 * every + LAYERS * 2 * HIDDEN * (10**2 + 20**2)))
    held = sum(value.numel() for name, value in Reader(DENSE).state_dict().items() if "embeddings" not in name)
    assert work.memory_bytes == 4 * (held + 30 * HIDDEN)
    assert work.link_bytes == 0


def test_a_part_of_the_budget_costs_a_part_of_the_work(tmp_path: Path) -> None:
    work = ReadingWork(layout_of(tmp_path, ROUTED))
    full, half = (work.of_windows([(100, share)] * 4, devices=2) for share in (1.0, 0.5))
    assert half.flops == pytest.approx(full.flops / 2)
    assert 0 < half.link_bytes < full.link_bytes
    assert half.memory_bytes <= full.memory_bytes
    # Every token to one expert of each layer and back, half of them on the other device.
    assert full.link_bytes == 4 * (2 * 400 * HIDDEN * LAYERS)


def test_over_more_devices_each_reads_fewer_experts_and_sends_more(tmp_path: Path) -> None:
    work = ReadingWork(layout_of(tmp_path, ROUTED))
    steps = [work.of_windows([(60, 1.0)] * 8, devices=devices) for devices in (1, 2, 4)]
    read, sent = [step.memory_bytes for step in steps], [step.link_bytes for step in steps]
    assert read == sorted(read, reverse=True)
    assert read[0] > read[-1]
    assert sent[0] == 0 < sent[1] < sent[2]


@pytest.mark.parametrize("config", [DENSE, ROUTED])
def test_the_policys_steps_are_those_of_the_pacer(tmp_path: Path, config: EncoderConfig) -> None:
    work = ReadingWork(layout_of(tmp_path, config))
    cost = ReadingCost(device=SimulatedDevice(profile=ROUND, time_scale=3.0), work=work, window=50.0)
    for devices in (1, 2):
        step = work.of_windows([(50, 1.0)] * 6, devices=devices)
        assert float(cost.seconds(300.0, 0.0, devices)) == pytest.approx(3 * float(step.seconds_on(ROUND)), rel=1e-4)
    sizes, tokens = np.array([1.0, 2.0, 4.0]), np.array([[50.0], [500.0]])
    table = cost.seconds(tokens, np.zeros(1), sizes)
    assert table.shape == (2, 3)
    assert table[1, 2] == pytest.approx(float(cost.seconds(500.0, 0.0, 4.0)))
    assert (table[1] > table[0]).all()


def test_a_pool_of_simulated_readers_takes_the_modelled_time_and_says_so(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, ROUTED)
    device = SimulatedDevice(profile=ROUND, time_scale=2.0)
    sizes: dict[str, Any] = {"page_bytes": 4096, "standbys": 0, "low_precision": False, "hang_seconds": 20.0}
    options = ReaderOptions(model=tmp_path, devices=2, simulated=device, **sizes)

    async def main() -> None:
        engine = await ReadingEngine.start(options)
        try:
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(build_app(engine, model="reader", token=None)), base_url="http://pool"
            )
            answered = await engine.answer(
                Question(text="What is of stone?", passages=PASSAGES[:1], compute_budget=0.7)
            )
            (reading,) = answered.readings
            step = ReadingWork(layout).of_windows([(reading.tokens, reading.spent)], devices=2)
            assert reading.spent < 0.9
            assert answered.device_seconds >= 2 * float(step.seconds_on(ROUND)) > 0.1
            assert (await client.get("/pool")).json()["simulated"] == "round"
            assert "slarag:is_simulated 1" in (await client.get("/metrics")).text
            await client.aclose()
            # What it costs is known, not measured.
            model = await calibrated_model(engine)
            assert isinstance(model.cost, ReadingCost)
            assert float(model.step_seconds(2000.0, 0.0, 2)) > float(model.step_seconds(20.0, 0.0, 2)) > 0.1
        finally:
            await engine.aclose()

    asyncio.run(main())


def test_a_simulated_reader_is_charged_for_nothing_but_itself(tmp_path: Path) -> None:
    other = Qwen3MoeConfig(
        vocab_size=9,
        hidden_size=8,
        num_layers=1,
        num_heads=1,
        num_kv_heads=1,
        head_dim=8,
        num_experts=0,
        experts_per_token=0,
        moe_intermediate_size=0,
    )
    device = SimulatedDevice(profile=ROUND, stands_for=other)
    with pytest.raises(ConfigurationError, match="stands_for"):
        asyncio.run(ReadingEngine.start(ReaderOptions(simulated=device)))
