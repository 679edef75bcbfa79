"""slarag's policy beside references that are tuned with hindsight."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slarag.backends.pool.comparison import ComparisonSettings, compare, compare_policies
from slarag.backends.pool.service import Objectives, ServiceModel
from slarag.backends.pool.trace import waves
from slarag.sla.errors import DataError

MODEL = ServiceModel(
    prefill_tokens_per_s=1000.0, step_base_s=0.01, step_per_answer_s=0.001, max_batch_tokens=108, max_sequences=8
)


def test_each_reference_keeps_its_cheapest_run_that_attains(tmp_path: Path) -> None:
    trace = waves(120, low=0.5, high=3, period_s=60)
    file = tmp_path / "trace.jsonl"
    rows = [{"t": a.at, "input_tokens": a.input_tokens, "output_tokens": a.output_tokens} for a in trace]
    file.write_text("\n".join(map(json.dumps, rows)))
    objectives = Objectives(ttft_s=4.0, itl_s=0.15, share=0.9)
    found = compare(file, ComparisonSettings(model=MODEL, objectives=objectives, ceiling=6))
    assert set(found.runs) == {"forecast", "static", "queue_threshold", "target_ongoing", "predicted_rate"}
    references = [tuned.run for name, tuned in found.runs.items() if tuned and name != "forecast"]
    assert references
    assert all(run.attainment >= 0.9 and run.requests == len(trace) for run in references)
    document = found.to_dict()
    assert document["workload"]["simulated"] is True
    assert document["figures"]["static_device_seconds"]["value"] == found.runs["static"].run.device_seconds
    assert json.loads(json.dumps(document)) == document
    assert len(found.table().splitlines()) == 6


def test_an_objective_that_no_setting_attains_is_said_to_be_so() -> None:
    trace = waves(60, low=0.5, high=3, period_s=60)
    settings = ComparisonSettings(model=MODEL, objectives=Objectives(ttft_s=0.001), ceiling=2)
    runs: list[tuple[int, int, str]] = []
    found = compare_policies(trace, settings, on_progress=lambda *run: runs.append(run))
    assert [run[0] for run in runs] == list(range(1, len(runs) + 1))
    assert len(runs) <= runs[0][1]
    assert runs[0][2] == "ForecastPolicy"
    assert [name for name, run in found.runs.items() if run is None] == [
        "static",
        "queue_threshold",
        "target_ongoing",
        "predicted_rate",
    ]
    assert "static           attains the objective with no setting" in found.table()


def test_a_trace_without_a_request_is_refused() -> None:
    with pytest.raises(DataError, match="holds no request"):
        compare_policies([], ComparisonSettings(), name="empty")
