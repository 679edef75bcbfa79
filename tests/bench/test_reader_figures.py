"""What the benchmarks of the reader print, on tiny readers."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from slarag.backends.elastic.serve.reading import Answered
from slarag.backends.protocol import Candidate
from slarag.backends.reader.combine import Combined
from slarag.backends.reader.config import EncoderConfig
from slarag.backends.reader.expansion import dynamic_config
from slarag.backends.reader.model import Reader
from slarag.backends.reader.store import ReaderSettings, save_reader
from slarag.sla.evidence import Span

BENCH = Path(__file__).resolve().parents[2] / "bench"
SMALL = EncoderConfig(num_layers=2, intermediate_size=1024)
NOTHING: dict[str, Any] = {"readings": (), "tokens": 0, "cached_tokens": 0, "cached_readings": 0, "device_seconds": 0.0}
FORMS = {
    "ours": dynamic_config(SMALL, group=1, experts=2, skip="layer"),
    "dlo": dynamic_config(SMALL, group=2, skip="feed_forward"),
    "dense": SMALL,
}


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny reader of each form."""
    folder = tmp_path_factory.mktemp("readers")
    torch.manual_seed(0)
    for name, config in FORMS.items():
        reader = Reader(config)
        for parameter_name, parameter in reader.named_parameters():
            if ".router." in parameter_name:
                torch.nn.init.normal_(parameter)
        save_reader(reader, ReaderSettings(), folder / name)
    return folder


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of questions."""
    file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    made = [
        {
            "question": f"Who found moon {number}?",
            "context": f"Moon {number} was found by Lassell in {1840 + number}, after the planet." * (1 + number % 2),
            "answers": ["Lassell"],
            "is_impossible": False,
        }
        for number in range(6)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in made))
    return file


def _script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCH))
    return importlib.import_module(name)


def _printed(
    name: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    script = _script(name, monkeypatch)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments, "--threads", "1", "--json"])
    script.main()
    return json.loads(capsys.readouterr().out)


def test_depth_prints_a_budgets_quality_time_and_operations(
    readers: Path, rows: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    also, budgets = f"dense={readers / 'dense'}", ["--budgets", "1.0", "0.6"]
    arguments = ["--data", str(rows), "--reader", str(readers / "ours"), "--repeats", "3", "--also", also, *budgets]
    figures = _printed("depth", arguments, monkeypatch, capsys)["figures"]
    measured = {"f1", "f1_forced", "f1_lost", "seconds", "processor_seconds", "flops", "gflops"}
    of_budget = {f"{name}_budget" for name in measured} | {"time_ratio", "processor_ratio"}
    assert set(figures) == {
        *(f"{name}_{budget}" for name in of_budget for budget in ("1", "0.6")),
        *(f"dense_{name}_1" for name in of_budget),
        *(f"{name}_over_dense_{budget}" for name in ("gain", "time") for budget in ("1", "0.6")),
    }
    assert figures["flops_budget_0.6"]["value"] == pytest.approx(0.6, abs=0.03)
    spent, full = figures["gflops_budget_0.6"]["value"], figures["gflops_budget_1"]["value"]
    assert spent / full == pytest.approx(0.6, abs=0.03)
    seconds = figures["seconds_budget_1"]
    assert seconds["low"] < seconds["value"] < seconds["high"], "three repeats are never alike"


def test_depth_compares_with_rivals_at_equal_operations(
    readers: Path, rows: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(rows), "--reader", str(readers / "ours"), "--budgets", "1.0", "0.6"]
    for option, name, form in (("rival", "dlo", "dlo"), ("rival", "dense", "dense"), ("published", "told", "dlo")):
        arguments += [f"--{option}", f"{name}={readers / form}"]
    figures = _printed("depth", arguments, monkeypatch, capsys)["figures"]
    values = {name: figure["value"] for name, figure in figures.items()}
    for budget in ("1", "0.6"):
        theirs = values["told_gflops_budget_1"] / values["told_flops_budget_1"]
        most = min(values[f"gflops_budget_{budget}"], theirs)
        assert values[f"dlo_gflops_at_equal_flops_{budget}"] == pytest.approx(most, rel=0.03)
        lost = values[f"f1_budget_{budget}"] - values[f"dlo_f1_at_equal_flops_{budget}"]
        assert values[f"gain_at_equal_flops_over_dlo_{budget}"] == pytest.approx(lost)
    for name in ("dense", "told"):
        theirs = values[f"{name}_gflops_budget_1"]
        assert values[f"gflops_at_equal_flops_of_{name}"] == pytest.approx(theirs, rel=0.03)
        lost = values[f"f1_at_equal_flops_of_{name}"] - values[f"{name}_f1_budget_1"]
        assert values[f"gain_at_equal_flops_over_{name}"] == pytest.approx(lost)
    assert values["told_flops_budget_1"] < 1, "its threshold skips"


def test_a_threshold_is_for_readers_that_skip_feed_forward_blocks(
    readers: Path, rows: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--data", str(rows), "--reader", str(readers / "ours"), "--published", f"x={readers / 'ours'}"]
    with pytest.raises(SystemExit, match="feed-forward"):
        _printed("depth", arguments, monkeypatch, capsys)


@pytest.mark.parametrize("budget", ["1.0", "0.5"])
def test_routing_prints_each_tasks_least_and_greatest_share(
    budget: str, readers: Path, rows: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = ["--task", f"one={rows}", "--task", f"two={rows}"]
    arguments = [*tasks, "--reader", str(readers / "ours"), "--budget", budget]
    printed = _printed("routing", arguments, monkeypatch, capsys)
    assert set(printed["figures"]) == {
        *(f"{end}_share{task}" for end in ("min", "max") for task in ("", "_one", "_two")),
        "difference_one_two",
    }
    assert printed["workload"]["budget"] == float(budget)
    assert printed["figures"]["difference_one_two"]["value"] == 0.0
    assert printed["figures"]["min_share_one"]["value"] <= 0.5 <= printed["figures"]["max_share_one"]["value"]


@pytest.mark.parametrize(
    ("text", "spans", "valid"),
    [
        ("Lassell", [(9, 16)], True),
        ("Lassell", [(9, 16), (21, 28)], True),
        ("Lassell", [(8, 15)], False),
        ("Lassell", [(9, 16), (0, 3)], False),
        ("Lassell", [(90, 97)], False),
        ("Lassell", [], False),
    ],
)
def test_an_answer_under_load_is_valid_when_it_stands_where_it_says(
    text: str, spans: list[tuple[int, int]], valid: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = _script("brown_out", monkeypatch)
    where = tuple(Span(passage_id="0", start=start, end=end) for start, end in spans)
    combined = Combined((Candidate(text=text, spans=where, probability=0.5),), 0.5, {})
    answered = Answered(combined=combined, **NOTHING)
    assert script._is_valid(answered, "Found by Lassell, as LASSELL said.") is valid


def test_no_answer_under_load_is_not_a_valid_one(monkeypatch: pytest.MonkeyPatch) -> None:
    none = Answered(combined=Combined((), 1.0, {}), **NOTHING)
    assert not _script("brown_out", monkeypatch)._is_valid(none, "Found by Lassell.")
