from __future__ import annotations

import pytest

from slarag.sla.profile import Profile, load_profile
from slarag.sla.report import Measured, ObjectiveResult, report

ALL = Profile.model_validate(
    {
        "name": "all",
        "priority": "quality",
        "objectives": {
            "latency": {"p95_ms": 400, "deadline_ms": 1000},
            "cost": {"usd_per_query": 0.001},
            "quality": {"min_f1": 0.5},
            "risk": {"max_wrong_answer_rate": 0.2},
        },
    }
)
GOOD = Measured(latency_ms=300, usd=0.0004, expected_f1=0.7, wrong_answer_probability=0.1, abstained=False)


def by_name(measured: Measured, profile: Profile = ALL) -> dict[str, ObjectiveResult]:
    return {result.objective: result for result in report(profile, measured)}


def test_every_objective_of_the_profile_is_reported_in_order() -> None:
    assert [result.objective for result in report(ALL, GOOD)] == ["latency", "deadline", "cost", "quality", "risk"]
    assert [r.objective for r in report(load_profile("balanced"), GOOD)] == ["latency", "deadline", "cost"]
    assert report(Profile(name="none", priority="cost"), GOOD) == ()


def test_a_met_objective_says_by_how_much() -> None:
    found = by_name(GOOD)
    assert all(result.met for result in found.values())
    margins = {name: result.margin for name, result in found.items()}
    assert margins == pytest.approx({"latency": 100, "deadline": 700, "cost": 0.0006, "quality": 0.2, "risk": 0.1})
    assert [result.unit for result in found.values()] == ["ms", "ms", "usd", "f1", "probability"]


def test_a_missed_objective_says_by_how_much() -> None:
    found = by_name(
        Measured(latency_ms=600, usd=0.0015, expected_f1=0.3, wrong_answer_probability=0.5, abstained=False)
    )
    assert {name for name, result in found.items() if result.met} == {"deadline"}
    assert found["latency"].margin == -200
    assert found["cost"].margin == pytest.approx(-0.0005)
    assert found["quality"].margin == pytest.approx(-0.2)
    assert found["risk"].margin == pytest.approx(-0.3)


def test_a_value_on_its_target_meets_it() -> None:
    on_target = Measured(latency_ms=400, usd=0.001, expected_f1=0.5, wrong_answer_probability=0.2, abstained=False)
    assert all(result.met and result.margin == pytest.approx(0) for result in report(ALL, on_target)[:1])
    assert all(by_name(on_target)[name].met for name in ("latency", "cost", "quality", "risk"))


def test_an_abstention_cannot_be_wrong_and_has_no_quality() -> None:
    found = by_name(Measured(latency_ms=300, usd=0.0, expected_f1=0.6, wrong_answer_probability=0.9, abstained=True))
    assert found["risk"].met
    assert found["risk"].value == 0
    assert not found["quality"].met
    assert found["quality"].value == 0


def test_an_unpriced_query_does_not_meet_a_cost_objective() -> None:
    cost = by_name(Measured(latency_ms=1, usd=None, expected_f1=1, wrong_answer_probability=0, abstained=False))["cost"]
    assert (cost.met, cost.value, cost.margin) == (False, None, None)
