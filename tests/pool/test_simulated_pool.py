"""The simulator as a pool to drive, and the measured figures that it is calibrated with."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from slarag.backends.pool.conformance import check_driver
from slarag.backends.pool.controller import PoolController
from slarag.backends.pool.observation import Target
from slarag.backends.pool.policy import ForecastPolicy, PolicyLimits
from slarag.backends.pool.service import Floats, Objectives, ServiceModel
from slarag.backends.pool.service_file import from_figures, load_service_model, save_service_model, to_figures
from slarag.backends.pool.simulated_pool import SimulatedPool
from slarag.backends.pool.trace import Arrival, waves
from slarag.cli import main
from slarag.sla.errors import BackendUnavailableError, DataError
from tests.cli.test_pool import server

MODEL = ServiceModel(
    prefill_tokens_per_s=1000.0, step_base_s=0.01, step_per_answer_s=0.001, max_batch_tokens=108, max_sequences=8
)
ROW = '{"t": %g, "input_tokens": 100, "output_tokens": 10}\n'


@pytest.mark.parametrize("resize", ["live", "refusing"])
def test_it_conforms(resize: Any) -> None:
    trace = waves(60, low=1.0, high=2.0, period_s=20)
    for each in (trace, []):
        asyncio.run(check_driver(SimulatedPool(MODEL, each, devices=2, resize=resize), other_size=3))


def test_its_clock_is_its_own_and_a_resize_takes_its_time_on_it() -> None:
    async def use() -> None:
        pool = SimulatedPool(replace(MODEL, scale_up_s=12.0), [Arrival(1.0, 100, 10)], devices=1, interval_s=5.0)
        first = await pool.observe()
        assert (first.now, first.arrivals, first.finished) == (5.0, 1, 1)
        await pool.scale(Target(2))
        with pytest.raises(BackendUnavailableError, match="is running"):
            await pool.scale(Target(3))
        seen = [await pool.observe() for _ in range(3)]
        assert [each.is_resizing for each in seen] == [True, True, False]
        assert [(switch.target, switch.seconds) for switch in seen[-1].switches] == [(2, 12.0)]

    asyncio.run(use())


def test_a_policy_drives_it_as_it_drives_a_pool_and_keeps_the_standbys_that_the_forecast_needs() -> None:
    """Requests come in bursts that need many devices, and a boot takes longer than a burst lets wait."""
    slow = replace(MODEL, boot_s=60.0)
    policy = ForecastPolicy(slow, Objectives(ttft_s=2.0, itl_s=0.15), PolicyLimits(ceiling=16, most_standbys=6))

    async def use() -> list[Target]:
        pool = SimulatedPool(slow, waves(200, low=0.5, high=6.0, period_s=60), devices=2)
        controller = PoolController(pool, policy)
        return [target for _ in range(40) if (target := await controller.step()) is not None]

    wanted = asyncio.run(use())
    assert len({target.devices for target in wanted}) > 2
    kept = [target.standbys or 0 for target in wanted[len(wanted) // 2 :]]
    assert 1 < max(kept) <= 6


def test_figures_survive_their_file(tmp_path: Path) -> None:
    save_service_model(MODEL, tmp_path / "model.json")
    assert load_service_model(tmp_path / "model.json") == MODEL
    assert from_figures(to_figures(MODEL)) == MODEL


def test_a_model_whose_cost_something_else_says_is_written_as_figures_near_it() -> None:
    class Linear:
        def seconds(self, prompt_tokens: Floats | float, answers: Floats | float, devices: Floats | float) -> Floats:
            return 0.02 + prompt_tokens / 500 + answers * 0.003 + (devices - 1) * 0.001  # pyright: ignore[reportReturnType]

    found = from_figures(to_figures(replace(MODEL, cost=Linear(), scale_up_s=7.0)))
    assert found.cost is None
    assert float(found.step_seconds(100, 5, 3)) == pytest.approx(0.237)
    assert (found.scale_up_s, found.max_sequences) == (7.0, 8)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"step_base_s": None}, "lacks 'step_base_s'"),
        ({"warp": 9}, "does not know 'warp'"),
        ({"boot_s": -1}, "boot_s"),
        ({"boot_s": float("nan")}, "boot_s"),
        ({"prefill_tokens_per_s": 0}, "prefill_tokens_per_s"),
        ({"max_sequences": 2.5}, "max_sequences"),
    ],
)
def test_figures_that_cannot_be_are_refused(change: dict[str, Any], said: str) -> None:
    figures = {name: value for name, value in (to_figures(MODEL) | change).items() if value is not None}
    with pytest.raises(DataError, match=said):
        from_figures(figures)


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    for text in ("", "[]", '{"schema": 1}', '{"schema": 9, "service_model": {}}'):
        (tmp_path / "model.json").write_text(text, encoding="utf-8")
        with pytest.raises(DataError, match=r"schema|cannot read"):
            load_service_model(tmp_path / "model.json")


def test_the_command_simulates_measured_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trace.jsonl").write_text("".join(ROW % at for at in range(20)), encoding="utf-8")
    save_service_model(MODEL, tmp_path / "model.json")
    call = ["pool", "simulate", "--trace", str(tmp_path / "trace.jsonl"), "--ceiling", "2"]
    copy = tmp_path / "copy.json"
    assert main([*call, "--model", str(tmp_path / "model.json"), "--save-model", str(copy), "--json"]) == 0
    workload = json.loads(capsys.readouterr().out)["workload"]
    assert workload["model"]["prefill_tokens_per_s"] == 1000.0
    assert load_service_model(copy) == MODEL
    assert main([*call, "--model", str(copy), "--url", "http://127.0.0.1:9"]) == 2
    assert "give one of them" in capsys.readouterr().err


def test_a_pool_that_measured_itself_tells_its_figures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "trace.jsonl").write_text("".join(ROW % at for at in range(5)), encoding="utf-8")
    copy = tmp_path / "copy.json"
    call = ["pool", "simulate", "--trace", str(tmp_path / "trace.jsonl"), "--ceiling", "1", "--save-model", str(copy)]
    with server(200, json.dumps({"service_model": None})) as url:
        assert main([*call, "--url", url]) == 2
    assert "--autoscale" in capsys.readouterr().err
    with server(200, json.dumps({"service_model": to_figures(MODEL)})) as url:
        assert main([*call, "--url", url]) == 0
    assert load_service_model(copy) == MODEL
