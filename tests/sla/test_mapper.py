from __future__ import annotations

import json
import random
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slarag.sla.calibration_fit import fit_calibration
from slarag.sla.conditions import Conditions
from slarag.sla.decision import Decision
from slarag.sla.errors import PlanError
from slarag.sla.intents import INTENTS, IntentPrediction
from slarag.sla.mapper import Mapper
from slarag.sla.plan import Plan, default_plan_space
from slarag.sla.prediction import Prediction
from slarag.sla.profile import Profile, load_profile, shipped_profiles
from slarag.sla.work import size

from .builders import MEASURED, SECONDS_PER_PASSAGE, prior_calibration, simulate

SPACE = default_plan_space()
CALIBRATION = fit_calibration(simulate(SPACE[::5], 84), SPACE, source=MEASURED, seconds_per_passage=SECONDS_PER_PASSAGE)
MAPPER = Mapper(SPACE, CALIBRATION)
FACTOID = IntentPrediction.certain("factoid")
IDLE = Conditions()

PRIORITIES = ("latency", "cost", "quality", "risk")


def profile(priority: str = "quality", *, threshold: float = 0.3, **objectives: float | None) -> Profile:
    """A profile of the given limits; `deadline_ms` follows `p95_ms` unless it is given."""
    goals: dict[str, dict[str, float]] = {}
    if (p95 := objectives.get("p95_ms")) is not None:
        goals["latency"] = {"p95_ms": p95, "deadline_ms": objectives.get("deadline_ms") or 4 * p95}
    for name, field in (("cost", "usd_per_query"), ("quality", "min_f1"), ("risk", "max_wrong_answer_rate")):
        if (limit := objectives.get(field)) is not None:
            goals[name] = {field: limit}
    return Profile.model_validate(
        {"name": "test", "priority": priority, "objectives": goals, "abstention": {"below_confidence": threshold}}
    )


def metric(priority: str, prediction: Prediction) -> float:
    """What the priority minimises."""
    return {
        "latency": prediction.latency_ms.mean,
        "cost": prediction.usd.mean,
        "quality": -prediction.f1.mean,
        "risk": prediction.wrong_answer_rate.mean,
    }[priority]


intents = st.lists(st.floats(0.01, 1), min_size=7, max_size=7).map(
    lambda raw: IntentPrediction({name: value / sum(raw) for name, value in zip(INTENTS, raw, strict=True)})
)
conditions = st.builds(
    Conditions,
    waiting=st.integers(0, 20),
    running=st.integers(0, 8),
    devices=st.integers(1, 8),
    seconds_per_passage=st.none() | st.floats(0.005, 0.1),
)
limits = st.fixed_dictionaries(
    {},
    optional={
        "p95_ms": st.floats(20, 5000),
        "usd_per_query": st.floats(1e-7, 1e-4),
        "min_f1": st.floats(0, 0.9),
        "max_wrong_answer_rate": st.floats(0.02, 0.9),
    },
)


@given(st.sampled_from(PRIORITIES), limits, intents, conditions)
def test_a_decision_keeps_every_objective_or_says_that_none_can(
    priority: str, goals: dict[str, float], intent: IntentPrediction, now: Conditions
) -> None:
    decision = MAPPER.decide(profile(priority, **goals), intent, now)
    assert len(decision.feasible) + len(decision.rejected) == len(SPACE)
    for option in decision.feasible:
        assert keeps(goals, option.prediction)
    for rejection in decision.rejected:
        assert not keeps(goals, rejection.prediction)
        assert rejection.excess > 0
    assert decision.is_nearest_offer == (not decision.feasible)
    if decision.feasible:
        assert keeps(goals, decision.prediction)
        best = min(metric(priority, option.prediction) for option in decision.feasible)
        assert metric(priority, decision.prediction) == best
    else:
        assert decision.binding is not None


def keeps(goals: dict[str, float], prediction: Prediction) -> bool:
    return (
        prediction.latency_ms.high <= goals.get("p95_ms", float("inf"))
        and prediction.usd.high <= goals.get("usd_per_query", float("inf"))
        and prediction.f1.low >= goals.get("min_f1", 0)
        and prediction.wrong_answer_rate.high <= goals.get("max_wrong_answer_rate", 1)
    )


LOOSER = {"p95_ms": 1.7, "usd_per_query": 1.7, "min_f1": 0.6, "max_wrong_answer_rate": 1.4}


@given(st.sampled_from(PRIORITIES), limits, intents, conditions, st.sampled_from(sorted(LOOSER)))
def test_a_looser_objective_never_predicts_a_worse_value_of_the_priority(
    priority: str, goals: dict[str, float], intent: IntentPrediction, now: Conditions, name: str
) -> None:
    tight = MAPPER.decide(profile(priority, **goals), intent, now)
    looser = {key: min(value * (LOOSER[key] if key == name else 1), 1e4) for key, value in goals.items()}
    if "max_wrong_answer_rate" in looser:
        looser["max_wrong_answer_rate"] = min(1.0, looser["max_wrong_answer_rate"])
    loose = MAPPER.decide(profile(priority, **looser), intent, now)
    assert len(loose.feasible) >= len(tight.feasible)
    if not tight.is_nearest_offer:
        assert metric(priority, loose.prediction) <= metric(priority, tight.prediction)


@given(st.sampled_from(PRIORITIES), limits, intents, conditions)
@settings(max_examples=50)
def test_dropping_every_objective_gives_the_best_there_is(
    priority: str, goals: dict[str, float], intent: IntentPrediction, now: Conditions
) -> None:
    bound = MAPPER.decide(profile(priority, **goals), intent, now)
    free = MAPPER.decide(profile(priority), intent, now)
    assert free.binding is None
    assert not free.rejected
    assert metric(priority, free.prediction) <= metric(priority, bound.prediction)


@given(limits, intents, conditions, st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_the_order_of_the_space_does_not_matter(
    goals: dict[str, float], intent: IntentPrediction, now: Conditions, rng: random.Random
) -> None:
    shuffled = list(SPACE)
    rng.shuffle(shuffled)
    one, other = (mapper.decide(profile(**goals), intent, now) for mapper in (MAPPER, Mapper(shuffled, CALIBRATION)))
    assert one == other


@pytest.mark.parametrize("name", shipped_profiles())
@pytest.mark.parametrize("intent", INTENTS)
def test_every_shipped_profile_gets_a_plan_for_every_intent(name: str, intent: str) -> None:
    decision = MAPPER.decide(load_profile(name), IntentPrediction.certain(intent), IDLE)  # type: ignore[arg-type]
    assert replace(decision.plan, escalations=0) in SPACE
    assert decision.plan.key.startswith(replace(decision.plan, escalations=0).key)


def test_profiles_change_what_runs() -> None:
    plans = {MAPPER.decide(load_profile(name), FACTOID, IDLE).plan.key for name in ("fast", "thorough", "safe")}
    assert len(plans) >= 2


def test_load_moves_the_choice_to_smaller_plans() -> None:
    goal = profile("quality", p95_ms=1200)
    busy = Conditions(waiting=6, running=1, seconds_per_passage=2 * SECONDS_PER_PASSAGE)
    quiet, loaded = (MAPPER.decide(goal, FACTOID, state) for state in (IDLE, busy))
    assert size(loaded.plan) < size(quiet.plan)
    assert len(loaded.feasible) < len(quiet.feasible)


def test_the_binding_objective_is_what_kept_a_better_plan_out() -> None:
    decision = MAPPER.decide(profile("quality", p95_ms=300, usd_per_query=1), FACTOID, IDLE)
    assert decision.binding == "latency"
    better = decision.rejected
    assert max(r.prediction.f1.mean for r in better) > decision.prediction.f1.mean
    assert {r.objective for r in better} == {"latency"}
    assert "latency" in decision.reason
    assert decision.plan.key.split("-e")[0] in decision.reason


@pytest.mark.parametrize(
    ("goals", "binding"),
    [
        ({"p95_ms": 0.5}, "latency"),
        ({"usd_per_query": 1e-12}, "cost"),
        ({"min_f1": 1.0}, "quality"),
        ({"max_wrong_answer_rate": 0.0}, "risk"),
    ],
)
@pytest.mark.parametrize("priority", PRIORITIES)
def test_the_nearest_offer_misses_the_impossible_objective_least(
    goals: dict[str, float], binding: str, priority: str
) -> None:
    decision = MAPPER.decide(profile(priority, **goals), FACTOID, IDLE)
    assert decision.is_nearest_offer
    assert decision.binding == binding
    assert "nearest" in decision.reason
    chosen = next(r for r in decision.rejected if r.plan == decision.plan)
    assert chosen.excess == min(r.excess for r in decision.rejected)
    assert decision.plan.escalations == 0


def test_the_nearest_offer_keeps_the_priority_and_gives_up_the_rest() -> None:
    goals = {"p95_ms": 150.0, "deadline_ms": 10_000.0, "min_f1": 0.99}
    for_speed = MAPPER.decide(profile("latency", **goals), FACTOID, IDLE)
    for_quality = MAPPER.decide(profile("quality", **goals), FACTOID, IDLE)
    assert for_speed.prediction.latency_ms.high <= 150
    assert for_quality.prediction.f1.low > for_speed.prediction.f1.low


def test_the_nearest_offer_stays_within_the_deadline_while_it_can() -> None:
    goals = {"p95_ms": 400.0, "deadline_ms": 500.0, "min_f1": 0.99}
    decision = MAPPER.decide(profile("quality", **goals), FACTOID, IDLE)
    assert decision.prediction.latency_ms.high <= 500


class TestEscalation:
    def test_only_larger_plans_are_offered(self) -> None:
        plan = Plan(retrieval="hybrid", passages=3)
        decision = MAPPER.decide(profile("latency"), FACTOID, IDLE, larger_than=plan)
        assert size(decision.plan) > size(plan)
        assert all(size(option.plan) > size(plan) for option in decision.feasible)
        assert len(decision.feasible) == sum(size(p) > size(plan) for p in SPACE)

    def test_escalating_from_plan_to_plan_ends(self) -> None:
        plan, steps = Plan(retrieval="hybrid", passages=1), 0
        while True:
            decision = MAPPER.decide(profile("latency"), FACTOID, IDLE, larger_than=plan)
            if decision.is_nearest_offer:
                break
            assert size(decision.plan) > size(plan)
            plan, steps = decision.plan, steps + 1
        assert 3 < steps <= len(SPACE)
        assert decision.binding == "plan_space"
        assert decision.plan == replace(plan, escalations=0)

    def test_what_remains_limits_what_is_feasible(self) -> None:
        goal = profile("quality", p95_ms=4000, deadline_ms=4000)
        rich, poor = (MAPPER.decide(goal, FACTOID, IDLE, remaining_ms=ms) for ms in (4000, 400))
        assert rich == MAPPER.decide(goal, FACTOID, IDLE)
        assert poor.prediction.latency_ms.high <= 400
        assert size(poor.plan) < size(rich.plan)

    def test_the_time_that_has_passed_counts_against_the_p95(self) -> None:
        goal = profile("quality", p95_ms=1000, deadline_ms=5000)
        decision = MAPPER.decide(goal, FACTOID, IDLE, remaining_ms=4500)
        assert 250 < max(option.prediction.latency_ms.high for option in decision.feasible) <= 500

    def test_remaining_time_binds_without_a_latency_objective(self) -> None:
        decision = MAPPER.decide(profile("quality"), FACTOID, IDLE, remaining_ms=200)
        assert decision.prediction.latency_ms.high <= 200

    def test_remaining_money_limits_what_is_feasible(self) -> None:
        goal = profile("quality", usd_per_query=1.0)
        decision = MAPPER.decide(goal, FACTOID, IDLE, remaining_usd=2e-6)
        assert decision.prediction.usd.high <= 2e-6
        assert decision.binding == "cost"

    @pytest.mark.parametrize("left", [{"remaining_ms": 0.0}, {"remaining_usd": 0.0}])
    def test_nothing_is_feasible_with_nothing_left(self, left: dict[str, float]) -> None:
        decision = MAPPER.decide(load_profile("balanced"), FACTOID, IDLE, **left)
        assert decision.is_nearest_offer

    def test_a_decision_allows_an_escalation_only_if_both_runs_fit(self) -> None:
        goal = profile("latency", p95_ms=5000, min_f1=0.3)
        roomy = MAPPER.decide(goal, FACTOID, IDLE)
        assert roomy.plan.escalations == 1
        tight = MAPPER.decide(profile("latency", p95_ms=roomy.prediction.latency_ms.high + 1), FACTOID, IDLE)
        assert tight.plan.escalations == 0


def test_a_decision_is_plain_json() -> None:
    decision = MAPPER.decide(load_profile("balanced"), FACTOID, IDLE)
    raw = decision.to_dict()
    assert json.loads(json.dumps(raw)) == raw
    assert len(raw["feasible"]) == raw["feasible_count"]
    assert len(raw["rejected"]) == raw["rejected_count"]
    assert Plan.from_dict(raw["plan"]) == decision.plan
    brief = decision.to_dict(alternatives=False)
    assert "feasible" not in brief
    assert brief["feasible_count"] == raw["feasible_count"]


def test_the_alternatives_are_tuples_that_stay_the_same() -> None:
    decision, again = (MAPPER.decide(load_profile("balanced"), FACTOID, IDLE) for _ in range(2))
    assert decision == again
    assert hash(decision) == hash(again)
    for alternatives in (decision.feasible, decision.rejected):
        spelled_out = tuple(alternatives)
        assert len(alternatives) == len(spelled_out) > 0
        assert alternatives == spelled_out == alternatives[:]
        assert alternatives[-1] is spelled_out[-1]
        assert repr(alternatives) == repr(spelled_out)
        assert alternatives != list(spelled_out)


def test_the_prediction_is_that_of_the_chosen_alternative() -> None:
    decision = MAPPER.decide(load_profile("balanced"), FACTOID, IDLE)
    assert decision.feasible[0].prediction == decision.prediction
    assert decision.feasible[0].plan == replace(decision.plan, escalations=0)


def test_the_alternatives_are_sorted() -> None:
    decision = MAPPER.decide(profile("quality", p95_ms=500), FACTOID, IDLE)
    scores = [option.prediction.f1.mean for option in decision.feasible]
    assert scores == sorted(scores, reverse=True)
    excesses = [rejection.excess for rejection in decision.rejected]
    assert all(a <= b for a, b in pairwise(excesses))


def test_an_empty_space_is_refused() -> None:
    with pytest.raises(PlanError, match="at least one plan"):
        Mapper((), prior_calibration())


def test_a_space_of_one_plan_and_an_unmeasured_plan_work() -> None:
    plan = Plan(retrieval="dense", passages=7, hops=3, verification="support")
    decision: Decision = Mapper((plan,), CALIBRATION).decide(profile(), FACTOID, IDLE)
    assert replace(decision.plan, escalations=0) == plan


class TestOrderOfPlans:
    @pytest.mark.parametrize(
        "more",
        [
            {"passages": 5},
            {"rerank": True},
            {"hops": 2},
            {"replicas": 2, "arbitration": "majority"},
            {"verification": "support"},
        ],
    )
    def test_more_of_anything_is_larger(self, more: dict[str, object]) -> None:
        plan = Plan(retrieval="hybrid", passages=4)
        assert size(replace(plan, **more)) > size(plan)  # type: ignore[arg-type]


def test_a_compute_budget_makes_a_plan_smaller_and_cheaper() -> None:
    whole, spared = Plan(passages=3), Plan(passages=3, compute_budget=0.6)
    assert spared in SPACE
    assert size(spared) < size(whole)
    assert size(Plan(passages=1)) < size(spared)
    expected = CALIBRATION.backoff
    assert expected.device_seconds(spared) == pytest.approx(0.6 * expected.device_seconds(whole))
    assert (expected.f1(spared) < expected.f1(whole)).all()


def test_a_hop_whose_passages_would_not_be_read_is_refused() -> None:
    with pytest.raises(PlanError, match="needs more than one passage"):
        Plan(passages=1, hops=2)
    assert Plan(passages=1, hops=2, rerank=True).hops == Plan(passages=2, hops=2).hops == 2
    assert all(plan.hops == 1 or plan.passages > 1 or plan.rerank for plan in default_plan_space())
