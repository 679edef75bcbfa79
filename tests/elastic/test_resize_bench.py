"""What the resize benchmark prints: every way to resize with the same figures, simulated devices always among them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from slarag.backends.elastic.pacing import SimulatedDevice, load_device_profile
from slarag.backends.elastic.resize_bench.load import Load
from slarag.backends.elastic.resize_bench.run import run
from slarag.backends.elastic.resize_bench.settings import ABLATION, BenchSettings, Part

OWN = {
    *("scale_up_ms", "scale_down_ms", "throughput_kept", "scale_down_throughput_kept", "failed_requests"),
    *("bytes_moved", "bytes_lower_bound"),
}
WAYS: tuple[Part, ...] = ("horizontal_replica", "extravagant")
COMPARED = {"scale_up_over_cold_restart", "scale_down_over_cold_restart", "peak_memory_over_cold_restart"}


def figures_of(folder: Path, *parts: Part) -> dict[str, dict[str, Any]]:
    settings = BenchSettings(
        model=folder,
        simulated=SimulatedDevice(profile=load_device_profile("ascend_910b")),
        clients=2,
        prompt_tokens=4,
        answer_tokens=8,
        long_tokens=200,
        warm_seconds=0.1,
        kv_blocks=64,
        repeats=1,
        parts=parts,
    )
    document = run(settings)
    assert document["workload"]["simulated"]["device"] == "Ascend 910B"
    return document["figures"]


def named(figures: dict[str, dict[str, Any]], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): figure["value"] for name, figure in figures.items() if name.startswith(prefix)}


def test_a_rate_does_not_depend_on_where_its_span_falls_between_steps() -> None:
    load = Load([], clients=2, prompt_tokens=1, answer_tokens=8)
    load.tokens = [(step, step + 1.0) for step in range(10) for _ in range(load.clients)]
    for start in (0.0, 2.5, 3.9):
        assert load.rate(start, start + 1.5) == pytest.approx(2.0)
    assert load.rate(9.0, 11.0) == pytest.approx(1.0)


@pytest.mark.slow
def test_every_way_to_resize_has_the_same_figures(tiny_folder: Path) -> None:
    figures = figures_of(tiny_folder, "resize", *WAYS, "ablation")
    assert named(figures, "cold_restart_").keys() >= {"ms", *OWN} - {"scale_up_ms"}
    ablation = [f"ablation_{number}_{name}_" for number, name in enumerate(ABLATION, start=1)]
    for prefix in ("", *(f"{name}_" for name in WAYS), *ablation):
        found = named(figures, prefix)
        assert found.keys() >= OWN | COMPARED
        assert found["bytes_moved"] >= found["bytes_lower_bound"] > 0
        assert found["failed_requests"] == 0
    assert figures["bytes_moved"]["value"] == figures["bytes_lower_bound"]["value"]
    # A pool beside the first one reads all of the model again.
    assert figures["extravagant_bytes_moved"]["value"] > figures["bytes_moved"]["value"]


@pytest.mark.slow
def test_simulated_devices_stand_beside_real_ones_and_say_whether_this_host_kept_up(tiny_folder: Path) -> None:
    figures = figures_of(tiny_folder, "simulated")
    simulated = named(figures, "simulated_")
    assert simulated.keys() >= OWN | {"late_share"}
    assert simulated["late_share"] >= 0
    assert figures["throughput_kept"]["unit"] == figures["simulated_throughput_kept"]["unit"]
