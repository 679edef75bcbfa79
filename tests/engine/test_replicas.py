"""Replicas race, agree, fail and are called off."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from typing import Any

import pytest

from slarag.agents.events import ReplicaEvent
from slarag.backends.protocol import BackendLoad, VerifyResult
from slarag.sla.answer import Answer
from slarag.sla.calibration import Calibration
from slarag.sla.errors import BackendError, BackendUnavailableError
from slarag.sla.mapper import Mapper
from slarag.sla.plan import Plan
from slarag.sla.prediction import Prediction
from tests.engine.support import CALIBRATION, PASSAGES, QUESTION, engine, profile
from tests.fakes import ScriptedBackend, after, quote, reading, stall

THREE = Plan(replicas=3, arbitration="majority", retrieval="lexical", passages=4)
RIGHT = reading(quote(PASSAGES[0], "Mara Quill", 0.8))
WRONG = reading(quote(PASSAGES[0], "1871", 0.6))


def test_agreement_calls_off_what_can_no_longer_matter() -> None:
    slow = ScriptedBackend(stall, name="slow")

    async def ask() -> tuple[list[ReplicaEvent], set[asyncio.Task[object]]]:
        models = [ScriptedBackend(RIGHT, name="a"), ScriptedBackend(RIGHT, name="b"), slow]
        async with engine(*models) as asked:
            events = [event async for event in asked.astream(QUESTION, plan=THREE)]
        left = asyncio.all_tasks() - {asyncio.current_task()}
        return [event for event in events if isinstance(event, ReplicaEvent)], left

    replicas, left = asyncio.run(ask())
    assert [event.called_off for event in sorted(replicas, key=lambda event: event.replica)] == [False, False, True]
    assert slow.cancelled == 1
    assert left == set()


@pytest.mark.parametrize("arbitration", ["majority", "confidence", "jury"])
def test_which_replica_comes_first_changes_nothing(arbitration: Any) -> None:
    said = [
        reading(quote(PASSAGES[0], text, 0.5), no_answer=no_answer)
        for text, no_answer in (("Mara Quill", 0.1), ("1871", 0.3), ("the tower of Alder", 0.7))
    ]
    plan = Plan(replicas=3, arbitration=arbitration, retrieval="lexical", passages=4)
    answers: list[Answer] = []
    for delays in itertools.permutations((0.0, 0.01, 0.02)):
        steps = [after(delay, result) for delay, result in zip(delays, said, strict=True)]
        with engine(*(ScriptedBackend(step, name=f"m{at}") for at, step in enumerate(steps))) as asked:
            answers.append(asked.ask(QUESTION, plan=plan))
    assert len({(answer.best_text, answer.confidence) for answer in answers}) == 1
    assert all(answer.features == answers[0].features for answer in answers)


def test_the_first_answer_settles_first() -> None:
    models = [ScriptedBackend(stall, name="a"), ScriptedBackend(after(0.01, RIGHT), name="b")]
    with engine(*models) as asked:
        answer = asked.ask(QUESTION, plan=Plan(replicas=2, arbitration="first"))
    assert answer.text == "Mara Quill"
    assert models[0].cancelled == 1


def test_one_failure_does_not_fail_the_query() -> None:
    models = [ScriptedBackend(BackendUnavailableError("gone"), name="a"), ScriptedBackend(RIGHT, name="b")]
    with engine(*models) as asked:
        answer = asked.ask(QUESTION, plan=Plan(replicas=2, arbitration="majority"))
    assert answer.text == "Mara Quill"


def test_when_all_fail_the_query_says_what_the_backend_said() -> None:
    models = [ScriptedBackend(BackendUnavailableError("it is gone"), name=name) for name in "ab"]
    with engine(*models) as asked, pytest.raises(BackendUnavailableError, match="it is gone"):
        asked.ask(QUESTION, plan=Plan(replicas=2, arbitration="majority"))


def test_an_error_of_a_foreign_backend_becomes_one_line() -> None:
    with (
        engine(ScriptedBackend(ValueError("no such thing"), name="mine")) as asked,
        pytest.raises(BackendError) as caught,
    ):
        asked.ask(QUESTION)
    assert "'mine'" in str(caught.value)
    assert "no such thing" in str(caught.value)
    assert caught.value.remedy


def test_what_a_reranker_read_stands_in_for_a_reasoner_that_failed() -> None:
    with engine(ScriptedBackend(RIGHT, BackendUnavailableError("gone"))) as asked:
        assert asked.ask(QUESTION, plan=Plan(rerank=True)).text == "Mara Quill"


def test_a_jury_of_the_other_models_decides() -> None:
    doubt = VerifyResult(supported=0.1, refuted=0.8, not_enough=0.1, usd=0.0)
    trust = VerifyResult(supported=0.9, refuted=0.0, not_enough=0.1, usd=0.0)
    models = [ScriptedBackend(WRONG, name="a", verdict=trust), ScriptedBackend(RIGHT, name="b", verdict=doubt)]
    plan = Plan(replicas=2, arbitration="jury", retrieval="lexical")
    with engine(*models) as asked:
        answer = asked.ask(QUESTION, plan=plan)
    assert answer.best_text == "Mara Quill", "b doubts a's answer, a trusts b's"
    assert [request.answer for request in models[0].verified] == ["Mara Quill"]
    assert [request.answer for request in models[1].verified] == ["1871"]


def test_a_jury_of_one_leaves_it_to_confidence() -> None:
    model = ScriptedBackend(WRONG, RIGHT)
    with engine(model) as asked:
        answer = asked.ask(QUESTION, plan=Plan(replicas=2, arbitration="jury", retrieval="lexical"))
    assert answer.best_text == "Mara Quill"
    assert model.verified == []


def jury_plans_that_explain_names(*models: ScriptedBackend) -> list[tuple[Plan, Prediction]]:
    with engine(*models, mapper=None, calibration=Calibration.load()) as asked:
        decision = asked.explain(QUESTION)
    options = [*decision.feasible, *decision.rejected]
    return [(one.plan, one.prediction) for one in options if one.plan.arbitration == "jury"]


def test_a_jury_is_weighed_where_several_models_can_judge() -> None:
    assert jury_plans_that_explain_names(ScriptedBackend()) == []
    assert jury_plans_that_explain_names(*map(answering_only, "ab")) == []
    two = jury_plans_that_explain_names(ScriptedBackend(name="a"), ScriptedBackend(name="b"))
    three = jury_plans_that_explain_names(*(ScriptedBackend(name=name) for name in "abc"))
    assert {plan.replicas for plan, _ in two} == {2}
    assert {plan.replicas for plan, _ in three} == {2, 3}


def test_an_unmeasured_jury_is_taken_to_be_as_good_and_to_cost_more() -> None:
    with engine(*(ScriptedBackend(name=name) for name in "ab"), mapper=None, calibration=Calibration.load()) as asked:
        decision = asked.explain(QUESTION)
    predicted = {one.plan: one.prediction for one in [*decision.feasible, *decision.rejected]}
    juries = [plan for plan in predicted if plan.arbitration == "jury"]
    assert juries
    for plan in juries:
        jury, twin = predicted[plan], predicted[replace(plan, arbitration="confidence")]
        assert jury.f1 == twin.f1
        assert jury.usd.mean > twin.usd.mean
        assert jury.latency_ms.mean > twin.latency_ms.mean


def test_a_jury_that_was_measured_to_be_better_is_chosen() -> None:
    shipped = Calibration.load()
    best = Plan(replicas=2, arbitration="jury")
    cells = tuple(
        replace(cell, plan=best.key, f1=1.0, n=100_000)
        for cell in shipped.cells
        if cell.plan == replace(best, arbitration="confidence").key
    )
    measured = replace(shipped, cells=(*shipped.cells, *cells))
    with engine(*(ScriptedBackend(name=name) for name in "ab"), mapper=None, calibration=measured) as asked:
        assert asked.explain(QUESTION).plan.arbitration == "jury"


def answering_only(name: str) -> ScriptedBackend:
    return ScriptedBackend(name=name, capabilities=frozenset({"answer"}))


def test_agreement_raises_the_confidence() -> None:
    def confidence(*results: object) -> float:
        models = [ScriptedBackend(result, name=str(n)) for n, result in enumerate(results)]  # type: ignore[arg-type]
        with engine(*models) as asked:
            return asked.ask(QUESTION, plan=THREE).confidence

    assert confidence(RIGHT, WRONG, WRONG) < confidence(WRONG, WRONG, WRONG)


def test_an_escalation_that_fails_leaves_the_first_answer() -> None:
    unsure = reading(quote(PASSAGES[0], "Mara Quill", 0.05), no_answer=0.8)
    model = ScriptedBackend(unsure, *[BackendUnavailableError("gone")] * 9)
    larger = Mapper((Plan(passages=3),), CALIBRATION)
    with engine(model, profile=profile(below=0.6), mapper=larger) as asked:
        answer = asked.ask(QUESTION, plan=Plan(passages=1, retrieval="lexical", escalations=1))
    assert answer.abstained
    assert answer.best_text == "Mara Quill"
    assert len(answer.decisions) == 2


def test_an_escalation_is_decided_under_the_load_of_its_moment() -> None:
    asked_at: list[int] = []

    class Filling(ScriptedBackend):
        async def load(self) -> BackendLoad:
            asked_at.append(len(self.answered))
            return BackendLoad(waiting=len(asked_at))

    unsure = reading(quote(PASSAGES[0], "Mara Quill", 0.05), no_answer=0.8)
    larger = Mapper((Plan(passages=3),), CALIBRATION)
    with engine(Filling(unsure), profile=profile(below=0.6), mapper=larger) as asked:
        answer = asked.ask(QUESTION, plan=Plan(passages=1, retrieval="lexical", escalations=1))
    assert asked_at == [0, 1]
    assert len(answer.decisions) == 2
