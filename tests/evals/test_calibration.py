from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from slarag.evals import CalibrationReport, CalibrationSettings, calibrate, load_dataset
from slarag.evals.calibration_data import choose_items, choose_others, plans_for
from slarag.evals.favoured import favoured_plans
from slarag.evals.replay import measured_runs
from slarag.evals.settings import Progress
from slarag.evals.trials import TimedRun, Trial, TrialLog
from slarag.sla.calibration import Calibration
from slarag.sla.conditions import Conditions
from slarag.sla.confidence import ConfidenceFeatures
from slarag.sla.errors import ConfigurationError, DataError
from slarag.sla.intents import INTENTS, IntentPrediction
from slarag.sla.mapper import Mapper
from slarag.sla.plan import Plan, default_plan_space
from slarag.sla.profile import load_profile

PLANS = (Plan(passages=1), Plan(passages=2, rerank=True, verification="support"))


def write_rows(path: Path, count: int, impossible: int) -> Path:
    rows = [
        {
            "id": str(n),
            "question": f"Which colour has house {n}?",
            "answers": [] if n < impossible else [f"colour {n}"],
            "is_impossible": n < impossible,
            "title": f"House {n}",
            "context": f"The colour of house {n} is colour {n}. It stands in street {n * 7}.",
        }
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def trial(plan: str, item: str, device_seconds: float) -> Trial:
    return Trial(
        plan_key=plan,
        item_id=item,
        intent="factoid",
        f1=1.0,
        wrong=False,
        answered=True,
        device_seconds=device_seconds,
        confidence=0.5,
        features=ConfidenceFeatures(top=0.5, margin=0.1, no_answer=0.2, agreement=1.0),
    )


def test_questions_are_taken_from_the_files_in_turn_with_few_unanswerable_ones(tmp_path: Path) -> None:
    files = (write_rows(tmp_path / "a.jsonl", 30, 15), write_rows(tmp_path / "b.jsonl", 30, 15))
    settings = CalibrationSettings(data=files, out=tmp_path / "c.json", limit=20, unanswerable_share=0.2)
    items = choose_items([load_dataset(path) for path in files], settings)
    assert len({item.item_id for item in items}) == 20
    assert [item.item_id.split("/")[0] for item in items[:4]] == ["a.jsonl", "b.jsonl"] * 2
    assert sum(item.is_impossible for item in items) <= 4


def test_further_questions_are_others_and_go_through_all_plans(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "a.jsonl", 40, 20)
    settings = CalibrationSettings(data=(data,), out=tmp_path / "c.json", limit=10, confidence_questions=25)
    datasets = [load_dataset(data)]
    items = choose_items(datasets, settings)
    others = choose_others(datasets, settings, items)
    assert len(others) == 25
    assert not {item.item_id for item in items} & {item.item_id for item in others}
    assert sum(item.is_impossible for item in others) > 5
    space = default_plan_space()
    assert {plan.key for at in range(40) for plan in plans_for(at, space)} == {plan.key for plan in space}


def test_a_longer_file_fills_up_what_a_shorter_one_lacks(tmp_path: Path) -> None:
    files = (write_rows(tmp_path / "a.jsonl", 30, 0), write_rows(tmp_path / "b.jsonl", 4, 0))
    settings = CalibrationSettings(data=files, out=tmp_path / "c.json", confidence_questions=20)
    others = choose_others([load_dataset(path) for path in files], settings, [])
    assert [item.item_id.split("/")[0] for item in others] == ["a.jsonl", "b.jsonl"] * 4 + ["a.jsonl"] * 12


def test_a_run_takes_its_reading_and_what_its_plan_takes_anyway() -> None:
    trials = [trial("p", "1", 0.1), trial("p", "2", 0.3), trial("other", "2", 0.1)]
    # Alone, reading took twice as long as in shared batches, and 20 ms went elsewhere.
    timed = [TimedRun(plan_key="p", item_id="1", latency_ms=220.0, device_seconds=0.2)]
    runs = measured_runs(trials, timed)
    assert [run.device_seconds for run in runs] == pytest.approx([0.2, 0.6, 0.2])
    assert [run.latency_ms for run in runs] == pytest.approx([220.0, 620.0, 220.0])
    assert [run.question_id for run in runs] == ["1", "2", "2"]


def test_favoured_plans_are_what_the_shipped_profiles_get() -> None:
    space, shipped = default_plan_space(), Calibration.load()
    favoured = favoured_plans(space, shipped)
    assert set(favoured) == set(INTENTS)
    assert {plan for plans in favoured.values() for plan in plans} <= set(space)
    fast = Mapper(space, shipped).decide(load_profile("fast"), IntentPrediction.certain("list"), Conditions())
    assert replace(fast.plan, escalations=0) in favoured["list"]


def test_trials_of_one_question_add_up(tmp_path: Path) -> None:
    log = TrialLog(tmp_path / "trials.jsonl")
    log.append("1", [trial("p", "1", 0.1)])
    log.append("1", [trial("q", "1", 0.2)])
    assert [found.plan_key for found in log.read()["1"]] == ["p", "q"]


def test_trials_survive_the_disk_and_a_line_cut_short(tmp_path: Path) -> None:
    log = TrialLog(tmp_path / "folder" / "trials.jsonl")
    log.append("1", [trial("p", "1", 0.1)])
    with (tmp_path / "folder" / "trials.jsonl").open("a") as lines:
        lines.write('{"item_id": "2", "tri')
    assert log.read() == {"1": [trial("p", "1", 0.1)]}
    log.append("3", [trial("p", "3", 0.1)])
    assert set(log.read()) == {"1", "3"}


@pytest.mark.slow
def test_every_plan_is_measured_with_the_shipped_reader(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "houses.jsonl", 8, 1)
    settings = CalibrationSettings(
        data=(data,), out=tmp_path / "c.json", limit=6, timed=1, confidence_questions=2, plans=PLANS
    )
    told: list[Progress] = []
    report = calibrate(settings, on_progress=told.append)
    made = Calibration.load(tmp_path / "c.json")
    # The one file's own index is that over all files: its 8 passages are embedded once.
    assert [at.done for at in told if at.stage == "index: embed" and at.done == at.total] == [8]
    assert report.failures == {}
    assert made.source.kind == "measured"
    assert {cell.plan for cell in made.cells} == {plan.key for plan in PLANS}
    assert all(cell.n == 6 for cell in made.cells if cell.intent == "any")
    larger, smaller = (next(c for c in made.cells if c.plan == plan.key and c.intent == "any") for plan in PLANS[::-1])
    assert larger.device_seconds > smaller.device_seconds
    assert "runs of 6 questions\nquestions of this call: 8\n" in report.table()
    assert json.loads(json.dumps(report.to_dict()))["schema"] == 1
    # A second calibration finds the trials of the first; only the confidence learns from what readers said.
    again = calibrate(replace(settings, feedback=(write_feedback(tmp_path / "feedback.jsonl"),)))
    assert f1_of(again) == f1_of(report)
    assert again.calibration.confidence != report.calibration.confidence
    assert "3 answers that were judged" in again.calibration.source.description
    anew = calibrate(replace(settings, confidence_questions=8, kept=made)).calibration
    assert (anew.cells, anew.backoff, anew.seconds_per_passage) == (made.cells, made.backoff, made.seconds_per_passage)
    assert anew.confidence != made.confidence
    assert anew.validation["others_questions"] == 8


def write_feedback(path: Path) -> Path:
    features = ConfidenceFeatures(top=0.9, margin=0.8, no_answer=0.1, agreement=1.0)
    row = {"schema": 1, "text": "blue", "plan_key": "p", "intent": "factoid", "f1": 0.0, "wrong": True}
    row |= {"answered": True, "latency_ms": 9.0, "device_seconds": 0.01, "features": features.to_dict()}
    path.write_text("".join(json.dumps({**row, "question_id": str(n)}) + "\n" for n in range(3)), encoding="utf-8")
    return path


def f1_of(report: CalibrationReport) -> dict[tuple[str, str], float]:
    return {(cell.plan, cell.intent): cell.f1 for cell in report.calibration.cells}


def test_only_a_confidence_needs_further_questions(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no question to fit the confidence to"):
        CalibrationSettings(
            data=(tmp_path / "a.jsonl",), out=tmp_path / "c.json", confidence_questions=0, kept=Calibration.load()
        )


def test_a_calibration_needs_questions_with_answers(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no question file"):
        CalibrationSettings(data=(), out=tmp_path / "c.json")
    with pytest.raises(ConfigurationError, match="limit 0"):
        CalibrationSettings(data=(tmp_path,), out=tmp_path / "c.json", limit=0)
    with pytest.raises(ConfigurationError, match="confidence_questions -1"):
        CalibrationSettings(data=(tmp_path,), out=tmp_path / "c.json", confidence_questions=-1)
    twice = (tmp_path / "one" / "dev.jsonl", tmp_path / "other" / "dev.jsonl")
    with pytest.raises(ConfigurationError, match=r"two question files are named 'dev\.jsonl'.*name of its own"):
        CalibrationSettings(data=twice, out=tmp_path / "c.json")
    path = tmp_path / "r.jsonl"
    path.write_text('{"question": "?"}\n')
    with pytest.raises(DataError, match="has an answer to score"):
        calibrate(CalibrationSettings(data=(path,), out=tmp_path / "c.json"))
