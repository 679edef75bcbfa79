from __future__ import annotations

import json
from dataclasses import replace

import pytest

from slarag.sla.answer import Answer
from slarag.sla.conditions import Conditions
from slarag.sla.evidence import Citation, Passage
from slarag.sla.intents import INTENTS, IntentPrediction
from slarag.sla.mapper import Mapper
from slarag.sla.plan import default_plan_space
from slarag.sla.profile import load_profile
from slarag.sla.report import Measured, report

from .builders import prior_calibration

BALANCED = load_profile("balanced")
INTENT = IntentPrediction.certain("factoid")
DECISION = Mapper(default_plan_space(), prior_calibration()).decide(BALANCED, INTENT, Conditions())
ANSWER = Answer(
    question="When did Cassini enter orbit?",
    text="1 July 2004",
    abstained=False,
    abstain_reason="",
    best_text="1 July 2004",
    confidence=0.81,
    citations=(
        Citation(document_id="c.md", title="Cassini", start=10, end=21, quote="1 July 2004", passage_id="c.md#0"),
    ),
    intent=INTENT,
    decisions=(DECISION,),
    report=report(
        BALANCED,
        Measured(latency_ms=210, usd=1e-6, expected_f1=0.8, wrong_answer_probability=0.19, abstained=False),
    ),
    usd=1e-6,
    device_seconds=0.07,
    timings_ms={"total": 210.0, "retrieve": 12.0},
    passages=(Passage(passage_id="c.md#0", document_id="c.md", text="It came on 1 July 2004.", title="Cassini"),),
    profile="balanced",
)


def test_an_answer_is_plain_json() -> None:
    raw = ANSWER.to_dict()
    assert json.loads(json.dumps(raw)) == raw
    assert raw["schema"] == 1


def test_nothing_of_an_answer_is_lost_in_json() -> None:
    raw = ANSWER.to_dict()
    assert set(raw) == {"schema", *Answer.__dataclass_fields__}
    assert raw["citations"][0]["quote"] == "1 July 2004"
    assert raw["intent"]["top"] == "factoid"
    assert list(raw["intent"]["probabilities"]) == list(INTENTS)
    assert raw["decisions"][0]["plan_key"] == DECISION.plan.key
    assert [result["objective"] for result in raw["report"]] == ["latency", "deadline", "cost"]
    assert raw["passages"][0]["passage_id"] == "c.md#0"


def test_alternatives_are_counted_but_not_repeated_in_every_answer() -> None:
    assert "feasible" not in ANSWER.to_dict()["decisions"][0]
    assert len(json.dumps(ANSWER.to_dict())) < 5000


def test_an_abstention_keeps_its_candidate_out_of_the_text() -> None:
    silent = replace(ANSWER, text="", abstained=True, abstain_reason="confidence 0.2 is under 0.3")
    assert silent.to_dict()["best_text"] == "1 July 2004"
    with pytest.raises(ValueError, match="gives no text"):
        replace(ANSWER, abstained=True)


def test_confidence_is_a_probability() -> None:
    with pytest.raises(ValueError, match="confidence"):
        replace(ANSWER, confidence=1.2)
