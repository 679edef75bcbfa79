"""Every field of a plan changes what runs."""

from __future__ import annotations

import asyncio
from dataclasses import fields
from typing import Any

import pytest

from slarag.agents.events import DecisionEvent, PassagesEvent, ReplicaEvent
from slarag.backends.reader.backend import EmbeddedReader, PassageReading
from slarag.backends.reader.store import SHIPPED
from slarag.sla.mapper import Mapper
from slarag.sla.plan import Plan
from tests.engine.support import CALIBRATION, PASSAGES, QUESTION, engine, profile
from tests.fakes import PassageList, ScriptedBackend, quote, reading

REPLICAS = Plan(replicas=3, arbitration="majority", passages=4)


def ran(plan: Plan, *backends: ScriptedBackend, **parts: Any) -> tuple[list[Any], PassageList, list[ScriptedBackend]]:
    """The events of a question under `plan`, and what its retriever and backends were asked."""
    models = list(backends) or [ScriptedBackend()]
    retriever = PassageList(PASSAGES)

    async def stream() -> list[Any]:
        async with engine(*models, retriever=retriever, **parts) as asked:
            return [event async for event in asked.astream(QUESTION, plan=plan)]

    return asyncio.run(stream()), retriever, models


def test_every_field_has_a_test() -> None:
    tested = {name.removeprefix("test_knob_") for name in globals() if name.startswith("test_knob_")}
    assert {field.name for field in fields(Plan)} == tested


@pytest.mark.parametrize("method", ["lexical", "dense", "hybrid"])
def test_knob_retrieval(method: Any) -> None:
    _, retriever, _ = ran(Plan(retrieval=method))
    assert [asked[1] for asked in retriever.asked] == [method]


@pytest.mark.parametrize("passages", [1, 3, 7])
def test_knob_passages(passages: int) -> None:
    _, retriever, (model,) = ran(Plan(passages=passages))
    assert [asked[2] for asked in retriever.asked] == [passages]
    assert [len(request.passages) for request in model.answered] == [passages]


def test_knob_rerank() -> None:
    scores = {passage.passage_id: number / 10 for number, passage in enumerate(PASSAGES)}
    model = ScriptedBackend(reading(quote(PASSAGES[0], "Mara Quill"), **scores))
    _, retriever, _ = ran(Plan(passages=2, rerank=True), model)
    assert [asked[2] for asked in retriever.asked] == [6]
    scored, read = model.answered
    best = sorted(scored.passages, key=lambda passage: -scores[passage.passage_id])[:2]
    assert [passage.passage_id for passage in read.passages] == [passage.passage_id for passage in best]


def test_knob_hops() -> None:
    events, retriever, _ = ran(Plan(hops=2, passages=4, retrieval="lexical"))
    first, second = retriever.asked
    assert first[0] == QUESTION
    assert second[0] != QUESTION
    assert "Mara Quill" in second[0]
    assert (first[3], second[3]) == (True, False), "only the question itself has a vector already"
    hops = [event for event in events if isinstance(event, PassagesEvent)]
    assert [event.hop for event in hops] == [1, 2]
    assert hops[1].passages[0] == hops[0].passages[0], "the first hop's best stays"
    assert len({passage.passage_id for passage in hops[1].passages}) == 4


def test_knob_replicas() -> None:
    events, retriever, (model,) = ran(REPLICAS, ScriptedBackend())
    assert {asked[1] for asked in retriever.asked} == {"hybrid", "lexical", "dense"}
    assert sorted(len(request.passages) for request in model.answered) == [2, 3, 4]
    assert {event.replica for event in events if isinstance(event, ReplicaEvent)} == {0, 1, 2}


def test_knob_arbitration() -> None:
    def models() -> list[ScriptedBackend]:
        texts = [("Mara Quill", 0.4), ("Mara Quill", 0.4), ("1871", 0.95)]
        return [
            ScriptedBackend(reading(quote(PASSAGES[0], text, probability)), name=f"m{number}")
            for number, (text, probability) in enumerate(texts)
        ]

    plans = {
        how: Plan(replicas=3, arbitration=how, retrieval="lexical", passages=4) for how in ("majority", "confidence")
    }
    given = {how: ran(plan, *models())[0][-1].answer.best_text for how, plan in plans.items()}
    assert given == {"majority": "Mara Quill", "confidence": "1871"}


def test_knob_verification() -> None:
    for verification, asked in (("span", 0), ("support", 1)):
        _, _, (model,) = ran(Plan(verification=verification))
        assert len(model.verified) == asked


def test_knob_escalations() -> None:
    unsure = reading(quote(PASSAGES[0], "Mara Quill", 0.02), no_answer=0.9)
    space = (Plan(passages=1), Plan(passages=6))
    for escalations, rounds in ((0, 1), (1, 2)):
        plan = Plan(passages=1, escalations=escalations)
        events, _, (model,) = ran(
            plan, ScriptedBackend(unsure), mapper=Mapper(space, CALIBRATION), profile=profile(below=0.5)
        )
        assert len(model.answered) == rounds
        assert sum(isinstance(event, DecisionEvent) for event in events) == rounds


def test_knob_compute_budget() -> None:
    for budget in (1.0, 0.6):
        _, _, (model,) = ran(Plan(compute_budget=budget, verification="support"))
        assert [request.compute_budget for request in model.answered] == [budget]
        assert [request.compute_budget for request in model.verified] == [budget]


class Metered(EmbeddedReader):
    """The shipped mixture of experts; `spent` is the share of the full model's FLOPs that each of its readings cost."""

    def __init__(self) -> None:
        super().__init__(folder=SHIPPED)
        self.spent: list[float] = []

    async def read(self, *arguments: Any) -> list[PassageReading]:
        """Read, and take down what it cost."""
        read = await super().read(*arguments)
        self.spent += [one.reading.spent for one in read]
        return read


def test_a_reader_with_a_budget_computes_less_under_a_smaller_one() -> None:
    async def spent(budget: float) -> list[float]:
        reader = Metered()
        plan = Plan(compute_budget=budget, passages=4, verification="support")
        try:
            async with engine(reader) as asked:
                answer = await asked.aask(QUESTION, plan=plan)
                assert answer.device_seconds > 0
        finally:
            await reader.aclose()
        return reader.spent

    full, half = asyncio.run(spent(1.0)), asyncio.run(spent(0.5))
    assert min(len(full), len(half)) >= 5, "four passages and a claim"
    assert full == pytest.approx([1.0] * len(full))
    assert half == pytest.approx([0.5] * len(half), abs=0.05)


def test_a_profile_says_how_low_a_server_may_put_the_budget() -> None:
    for floor, budget, lowest in ((0.5, 1.0, 0.5), (0.9, 0.6, 0.6)):
        asked = profile().model_copy(update={"compute_floor": floor})
        _, _, (model,) = ran(Plan(compute_budget=budget), profile=asked)
        assert [request.compute_floor for request in model.answered] == [lowest]
