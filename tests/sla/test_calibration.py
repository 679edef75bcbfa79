from __future__ import annotations

import json
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slarag.sla.calibration import Calibration, CalibrationError
from slarag.sla.calibration_fit import fit_calibration, refit_confidence
from slarag.sla.cell_fit import confidence_model
from slarag.sla.conditions import Conditions
from slarag.sla.confidence import ConfidenceModel
from slarag.sla.errors import StorageError
from slarag.sla.intents import INTENTS, IntentPrediction
from slarag.sla.measured_run import MeasuredRun
from slarag.sla.plan import Plan, default_plan_space
from slarag.sla.prediction import Prediction

from .builders import MEASURED, SECONDS_PER_PASSAGE, prior_calibration, quality, simulate

SPACE = default_plan_space()
SOME = SPACE[::6]
FACTOID = IntentPrediction.certain("factoid")
IDLE = Conditions()


def fitted(questions: int = 140, seed: int = 0) -> Calibration:
    runs = simulate(SOME, questions, seed)
    return fit_calibration(runs, SPACE, source=MEASURED, seconds_per_passage=SECONDS_PER_PASSAGE)


@pytest.fixture(scope="module")
def measured() -> Calibration:
    return fitted()


def test_the_shipped_calibration_loads_and_says_what_it_rests_on() -> None:
    shipped = Calibration.load()
    assert shipped.source.description
    assert (shipped.source.kind == "measured") == bool(shipped.cells)
    assert Calibration.load() is shipped


@pytest.mark.parametrize("calibration", [prior_calibration(), Calibration.load()], ids=["prior", "shipped"])
@pytest.mark.parametrize("intent", INTENTS)
def test_predictions_of_the_whole_space_are_in_range(calibration: Calibration, intent: str) -> None:
    for plan in SPACE:
        check(calibration.predict(plan, IntentPrediction.certain(intent), IDLE))  # type: ignore[arg-type]


def check(prediction: Prediction) -> None:
    for estimate in prediction:
        assert 0 <= estimate.low <= estimate.mean <= estimate.high
    assert prediction.f1.high <= 1
    assert prediction.wrong_answer_rate.high <= 1
    assert prediction.latency_ms.mean > 0


def test_a_file_round_trips(measured: Calibration, tmp_path: Path) -> None:
    path = tmp_path / "folder" / "calibration.json"
    measured.save(path)
    again = Calibration.load(path)
    again.save(path)
    assert Calibration.load(path) == again
    assert again.confidence == measured.confidence
    assert again.validation == measured.validation
    before, after = (c.predict(SOME[3], FACTOID, IDLE) for c in (measured, again))
    for a, b in zip(before, after, strict=True):
        assert a == pytest.approx(b, rel=1e-3)


def test_a_file_can_be_reviewed_line_by_line(measured: Calibration) -> None:
    text = measured.to_json()
    raw = json.loads(text)
    assert raw["schema"] == 1
    assert raw["source"]["questions"] == 140
    assert raw["source"]["runs"] == 140 * len(SOME)
    lines = [line for line in text.splitlines() if '"plan":' in line]
    assert len(lines) == len(raw["cells"]) == len(SOME) * (len(INTENTS) + 1)


def test_saving_leaves_nothing_else_behind(measured: Calibration, tmp_path: Path) -> None:
    measured.save(tmp_path / "calibration.json")
    measured.save(tmp_path / "calibration.json")
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.json"]


def test_a_failed_save_says_so_and_keeps_the_old_file(measured: Calibration, tmp_path: Path) -> None:
    (tmp_path / "calibration.json").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        measured.save(tmp_path / "calibration.json")
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.json"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        ("{", "not JSON"),
        pytest.param("[" * 100_000, "not JSON", id="deep"),
        ("[]", "schema None"),
        ('{"schema": 99}', "schema 99"),
        ('{"schema": 1}', "damaged"),
    ],
)
def test_a_bad_file_is_refused_in_one_line(content: str | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "calibration.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(CalibrationError, match=words) as caught:
        Calibration.load(path)
    assert "slarag calibrate" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["source", "backoff", "cells", "confidence", "thresholds", "seconds_per_passage"])
def test_a_file_without_a_part_is_refused(key: str, tmp_path: Path) -> None:
    raw = json.loads(prior_calibration().to_json())
    del raw[key]
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(CalibrationError, match="damaged"):
        Calibration.load(path)


def test_what_was_measured_is_predicted(measured: Calibration) -> None:
    plan = SOME[0]
    cell = measured.by_plan[plan.key]["any"]
    found = measured.predict(plan, FACTOID, IDLE)
    assert found.latency_ms.mean == pytest.approx(cell.latency_p95_ms, rel=0.1)
    assert found.usd.mean == pytest.approx(cell.device_seconds * measured.usd_per_device_second, rel=0.1)


def test_fitted_quality_comes_nearer_to_the_truth_than_the_prior(measured: Calibration) -> None:
    def error(calibration: Calibration) -> float:
        gaps = [
            abs(calibration.predict(plan, IntentPrediction.certain(intent), IDLE).f1.mean - truth(plan, intent))
            for plan in SPACE
            for intent in INTENTS
        ]
        return sum(gaps) / len(gaps)

    def truth(plan: Plan, intent: str) -> float:
        chance = quality(plan, intent)  # type: ignore[arg-type]
        return chance + 0.1 * (1 - chance)

    assert error(measured) < 0.6 * error(prior_calibration())
    assert error(measured) < 0.1


def test_plans_that_were_not_measured_learn_from_those_that_were(measured: Calibration) -> None:
    unseen = [plan for plan in SPACE if plan not in SOME and plan.replicas == 1]
    worse = [measured.predict(replace(p, retrieval="lexical"), FACTOID, IDLE).f1.mean for p in unseen]
    better = [measured.predict(replace(p, retrieval="hybrid"), FACTOID, IDLE).f1.mean for p in unseen]
    assert sum(better) > sum(worse)


def test_more_questions_give_narrower_estimates(measured: Calibration) -> None:
    few = fitted(28)
    for plan in SOME:
        wide, narrow = (c.predict(plan, FACTOID, IDLE) for c in (few, measured))
        assert narrow.f1.mean - narrow.f1.low < wide.f1.mean - wide.f1.low
        assert narrow.latency_ms.high / narrow.latency_ms.mean < wide.latency_ms.high / wide.latency_ms.mean


def test_the_validation_is_on_other_questions_and_good(measured: Calibration) -> None:
    figures = measured.validation
    assert 20 <= figures["questions"] <= 50
    assert figures["ece"] <= 0.1
    assert figures["brier"] < figures["brier_of_mean"]
    assert abs(figures["f1_bias"]) < 0.12
    assert figures["latency_high_coverage"] > 0.9


def test_further_questions_validate_the_confidence_that_never_saw_them() -> None:
    runs = simulate(SOME[:2], 30)
    others = [replace(run, question_id=f"other {run.question_id}") for run in simulate(SOME[2:4], 60, seed=1)]
    figures = fit_calibration(
        runs, SPACE, source=MEASURED, seconds_per_passage=SECONDS_PER_PASSAGE, others=others
    ).validation
    assert (figures["others_questions"], figures["others_runs"]) == (60, 120)
    assert figures["others_ece"] <= 0.12
    # Outcomes drawn by lot for each question can be learnt only by a model that has seen the question.
    lots = [replace(run, wrong=zlib.crc32(run.question_id.encode()) % 2 == 0) for run in others]
    blind = fit_calibration(
        runs, SPACE, source=MEASURED, seconds_per_passage=SECONDS_PER_PASSAGE, others=lots
    ).validation
    assert blind["others_brier"] >= 0.95 * blind["others_brier_of_mean"]


def test_a_confidence_is_fitted_anew_and_the_plans_stay_as_they_were(measured: Calibration) -> None:
    runs = [replace(run, question_id=f"other {run.question_id}") for run in simulate(SOME[:4], 40, seed=2)]
    anew = refit_confidence(measured, runs, data=("mine.jsonl",), note="fitted anew")
    assert (anew.cells, anew.backoff) == (measured.cells, measured.backoff)
    assert anew.confidence == confidence_model(runs) != measured.confidence
    assert (anew.validation["others_questions"], anew.validation["others_runs"]) == (40, 160)
    assert anew.validation["f1_bias"] == measured.validation["f1_bias"]
    assert "ece" not in anew.validation, "that was the former confidence's"
    assert anew.source.description.endswith("; fitted anew")
    assert anew.source.data[-1] == "mine.jsonl"


def test_a_confidence_is_not_fitted_to_nothing(measured: Calibration) -> None:
    mute = [replace(run, features=None, answered=False) for run in simulate(SOME[:1], 3)]
    with pytest.raises(CalibrationError, match="no answer to fit"):
        refit_confidence(measured, mute, data=(), note="")


def test_the_confidence_is_that_of_further_questions_where_they_are_the_more() -> None:
    runs = simulate(SOME[:2], 30)
    others = [replace(run, question_id=f"other {run.question_id}") for run in simulate(SOME[2:4], 60, seed=1)]

    def confidence(further: list[MeasuredRun]) -> ConfidenceModel:
        return fit_calibration(runs, SPACE, source=MEASURED, seconds_per_passage=0.02, others=further).confidence

    assert confidence(others) == confidence_model(others)
    assert confidence(others[:10]) == confidence_model([*runs, *others[:10]])


def test_the_order_of_the_runs_does_not_matter() -> None:
    runs = simulate(SOME[:3], 20)
    one, other = (
        fit_calibration(rows, SPACE, source=MEASURED, seconds_per_passage=0.02) for rows in (runs, runs[::-1])
    )
    assert [c.plan for c in one.cells] == [c.plan for c in other.cells]
    for a, b in zip(one.predict(SOME[0], FACTOID, IDLE), other.predict(SOME[0], FACTOID, IDLE), strict=True):
        assert a == pytest.approx(b, rel=1e-6)


def test_a_run_without_an_answer_is_never_given_nor_wrong() -> None:
    runs = [replace(run, features=None, answered=False, f1=0.0, wrong=True) for run in simulate(SOME[:1], 30)]
    cell = fit_calibration(runs, SPACE, source=MEASURED, seconds_per_passage=0.02).by_plan[SOME[0].key]["any"]
    assert set(cell.given) == set(cell.wrong) == {0.0}


def test_an_answer_less_likely_right_than_that_there_is_none_counts_as_withheld() -> None:
    runs = simulate(SOME[:1], 60)
    sure = [replace(run, features=replace(run.features, no_answer=0.999)) for run in runs if run.features is not None]
    cell = fit_calibration(sure, SPACE, source=MEASURED, seconds_per_passage=0.02).by_plan[SOME[0].key]["any"]
    assert cell.given[0] == 1.0  # a threshold of zero withholds nothing
    assert set(cell.given[1:]) == {0.0}


def test_runs_of_unknown_plans_and_no_runs_are_refused() -> None:
    runs = simulate(SOME[:1], 3)
    with pytest.raises(CalibrationError, match="no runs"):
        fit_calibration([], SPACE, source=MEASURED, seconds_per_passage=0.02)
    with pytest.raises(CalibrationError, match=SOME[0].key):
        fit_calibration(runs, SPACE[1:], source=MEASURED, seconds_per_passage=0.02)


def test_an_escalating_plan_is_predicted_by_its_first_run(measured: Calibration) -> None:
    plan = SOME[0]
    assert measured.predict(replace(plan, escalations=1), FACTOID, IDLE) == measured.predict(plan, FACTOID, IDLE)


@given(
    plan=st.sampled_from(SPACE),
    waiting=st.integers(0, 200),
    running=st.integers(0, 16),
    devices=st.integers(1, 16),
    slowdown=st.floats(0.2, 20),
)
def test_load_only_ever_adds_latency(plan: Plan, waiting: int, running: int, devices: int, slowdown: float) -> None:
    calibration = prior_calibration()

    def latency(**changes: int | float) -> float:
        state = {"waiting": waiting, "running": running, "devices": devices}
        seconds = SECONDS_PER_PASSAGE * float(changes.pop("slowdown", slowdown))
        now = Conditions(**{**state, **changes}, seconds_per_passage=seconds)  # type: ignore[arg-type]
        return calibration.predict(plan, FACTOID, now).latency_ms.mean

    assert latency(waiting=waiting + 1) >= latency()
    assert latency(running=running + 1) >= latency()
    assert latency(slowdown=slowdown * 1.5) > latency()
    assert latency(devices=devices + 1) <= latency()


def test_a_slow_moment_costs_more_too() -> None:
    calibration = prior_calibration()
    slow = Conditions(seconds_per_passage=2 * SECONDS_PER_PASSAGE)
    idle, now = (calibration.predict(SPACE[0], FACTOID, state) for state in (IDLE, slow))
    assert now.usd.mean == pytest.approx(2 * idle.usd.mean)
    assert now.f1 == idle.f1


@given(st.sampled_from(SPACE), st.floats(0, 1), st.floats(0, 1))
def test_a_higher_threshold_never_gives_more_wrong_answers_than_questions(plan: Plan, a: float, b: float) -> None:
    low, high = sorted((a, b))
    calibration = prior_calibration()
    loose = calibration.predict(plan, FACTOID, IDLE, threshold=low)
    firm = calibration.predict(plan, FACTOID, IDLE, threshold=high)
    assert loose.f1 == firm.f1
    check(firm)


def test_a_firm_threshold_lowers_the_wrong_answer_rate(measured: Calibration) -> None:
    for plan in SOME:
        loose, firm = (measured.predict(plan, FACTOID, IDLE, threshold=t).wrong_answer_rate.mean for t in (0.0, 0.6))
        assert firm < loose


def test_a_mixture_of_intents_lies_between_them() -> None:
    calibration = prior_calibration()
    half = dict.fromkeys(INTENTS, 0.0) | {"factoid": 0.5, "explanation": 0.5}
    easy, hard, mixed = (
        calibration.predict(SPACE[0], intent, IDLE).f1.mean
        for intent in (FACTOID, IntentPrediction.certain("explanation"), IntentPrediction(half))  # type: ignore[arg-type]
    )
    assert mixed == pytest.approx((easy + hard) / 2)


@pytest.mark.parametrize(
    "state",
    [
        {"waiting": -1},
        {"running": -1},
        {"devices": 0},
        {"seconds_per_passage": 0.0},
        {"seconds_per_passage": float("inf")},
    ],
)
def test_conditions_that_cannot_be_are_refused(state: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"not|must"):
        Conditions(**state)  # type: ignore[arg-type]


def test_nobody_waits_while_a_device_is_free() -> None:
    assert Conditions(running=3, devices=4).ahead == 0
    assert Conditions(running=4, devices=4).ahead == pytest.approx(1 / 4)
    assert Conditions(waiting=2, running=1, devices=1).ahead == 3
