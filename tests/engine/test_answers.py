"""What an answer says: text, citations, confidence, abstention, report."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from slarag.agents.events import PassagesEvent
from slarag.agents.text import coverage
from slarag.backends.protocol import VerifyResult
from slarag.sla.cells import THRESHOLDS, Cell
from slarag.sla.errors import BackendTimeoutError, BackendUnavailableError, QuestionError
from slarag.sla.evidence import Passage
from slarag.sla.intents import INTENTS, IntentPrediction
from slarag.sla.objectives import Objectives, QualityObjective
from slarag.sla.plan import Plan
from slarag.sla.profile import Profile
from tests.engine.support import CALIBRATION, PASSAGES, QUESTION, engine, profile
from tests.fakes import FixedClassifier, PassageList, ScriptedBackend, quote, reading

SOURCE = "A preface of some length. " + PASSAGES[0].text
SHIFTED = replace(PASSAGES[0], start=SOURCE.index(PASSAGES[0].text))


def test_an_answer_quotes_its_source_at_its_offsets() -> None:
    model = ScriptedBackend(reading(quote(SHIFTED, "Mara Quill")))
    with engine(model, retriever=PassageList([SHIFTED], {SHIFTED.document_id: SOURCE})) as asked:
        answer = asked.ask(QUESTION)
    (citation,) = answer.citations
    assert answer.text == citation.quote == "Mara Quill"
    assert SOURCE[citation.start : citation.end] == citation.quote
    assert 0 < answer.confidence <= 1
    assert answer.features is not None
    assert answer.features.chained == pytest.approx(answer.intent.probabilities["multi_hop"])
    assert answer.features.coverage == pytest.approx(coverage(QUESTION, SHIFTED))


def test_an_answer_that_its_source_does_not_bear_out_gives_way_to_the_next() -> None:
    elsewhere = Passage(passage_id="q", document_id="q", text="Bertha Flint built the tower of Alder.")
    model = ScriptedBackend(reading(quote(elsewhere, "Bertha Flint", 0.9), quote(SHIFTED, "Mara Quill", 0.4)))
    sources = {SHIFTED.document_id: SOURCE, "q": "Nobody built the tower of Alder."}
    with engine(model, retriever=PassageList([SHIFTED, elsewhere], sources)) as asked:
        answer = asked.ask(QUESTION)
    assert answer.best_text == "Mara Quill"
    assert [citation.document_id for citation in answer.citations] == [SHIFTED.document_id]


def test_nothing_borne_out_is_an_abstention() -> None:
    with engine(
        ScriptedBackend(reading(quote(SHIFTED, "Mara Quill"))), retriever=PassageList([SHIFTED], {"d00": "x"})
    ) as asked:
        answer = asked.ask(QUESTION)
    assert answer.abstained
    assert not answer.best_text
    assert "quote" in answer.abstain_reason


def test_a_doubtful_answer_is_withheld_but_kept() -> None:
    doubtful = reading(quote(PASSAGES[0], "Mara Quill", 0.03), no_answer=0.9)
    with engine(ScriptedBackend(doubtful, doubtful)) as asked:
        withheld = asked.ask(QUESTION, profile(below=0.5))
        given = asked.ask(QUESTION, profile(below=0.5, abstain=False))
    assert (withheld.text, withheld.abstained, withheld.best_text) == ("", True, "Mara Quill")
    assert "0.50" in withheld.abstain_reason
    assert (given.text, given.abstained, given.abstain_reason) == ("Mara Quill", False, "")


def test_an_answer_less_likely_than_that_there_is_none_is_withheld() -> None:
    for no_answer, abstains in ((0.9, True), (0.02, False)):
        unsure = reading(quote(PASSAGES[0], "Mara Quill", 0.2), no_answer=no_answer)
        with engine(ScriptedBackend(unsure, unsure)) as asked:
            answer = asked.ask(QUESTION, profile(below=0.05))
            at_any_rate = asked.ask(QUESTION, profile(below=0.0))
        assert answer.confidence > 0.05
        assert answer.abstained == abstains
        assert ("there is no answer (0.90)" in answer.abstain_reason) == abstains
        assert not at_any_rate.abstained


def test_a_refuted_answer_is_less_sure() -> None:
    refuted = VerifyResult(supported=0.02, refuted=0.95, not_enough=0.03, usd=0.0)
    plan = Plan(verification="support")
    confidences: list[float] = []
    for verdict in (None, refuted):
        with engine(ScriptedBackend(verdict=verdict)) as asked:
            confidences.append(asked.ask(QUESTION, plan=plan).confidence)
    assert confidences[1] < confidences[0]


def test_a_verifier_that_fails_leaves_the_answer_unchecked() -> None:
    with engine(ScriptedBackend(verdict=BackendTimeoutError("too slow"))) as asked:
        answer = asked.ask(QUESTION, plan=Plan(verification="support"))
    assert answer.text
    assert answer.features is not None
    assert not answer.features.verified


def test_passages_given_are_the_only_ones_read() -> None:
    retriever, model = PassageList(PASSAGES), ScriptedBackend()
    with engine(model, retriever=retriever) as asked:
        answer = asked.ask(QUESTION, passages=[PASSAGES[5]])
    assert retriever.asked == []
    assert [passage.passage_id for passage in model.answered[0].passages] == ["p05"]
    assert answer.passages[0].document_id == "d05"


def test_passages_given_are_ranked_by_their_words_and_the_events_say_so() -> None:
    async def stream() -> list[PassagesEvent]:
        async with engine() as asked:
            events = [event async for event in asked.astream(QUESTION, plan=Plan(retrieval="dense"), passages=PASSAGES)]
        return [event for event in events if isinstance(event, PassagesEvent)]

    (event,) = asyncio.run(stream())
    assert event.method == "lexical"
    assert {passage.document_id for passage in event.passages[:2]} == {"d00", "d01"}


def test_what_retrieval_came_to_is_kept_whichever_replica_won() -> None:
    sure = reading(quote(PASSAGES[0], "Mara Quill", 0.9))
    models = [ScriptedBackend(BackendUnavailableError("gone"), name="a"), ScriptedBackend(sure, name="b")]
    with engine(*models) as asked:
        answer = asked.ask(QUESTION, plan=Plan(replicas=2, arbitration="majority", retrieval="dense", passages=6))
    assert [passage.passage_id for passage in answer.retrieved] == [f"p{number:02}" for number in range(6)]
    assert len(answer.passages) == 5
    assert answer.to_dict()["retrieved"][0] == "p00"


def test_what_a_reranker_left_out_was_retrieved_all_the_same() -> None:
    scores = {passage.passage_id: number / 10 for number, passage in enumerate(PASSAGES)}
    model = ScriptedBackend(reading(quote(PASSAGES[0], "Mara Quill"), **scores))
    with engine(model) as asked:
        answer = asked.ask(QUESTION, plan=Plan(passages=2, rerank=True, retrieval="dense"))
    assert [passage.passage_id for passage in answer.retrieved] == ["p05", "p04", "p03", "p02", "p01", "p00"]
    assert answer.passages == answer.retrieved[:2]


def test_the_quality_reported_is_the_f1_that_the_confidence_comes_to() -> None:
    wanted = Profile(name="good", priority="quality", objectives=Objectives(quality=QualityObjective(min_f1=0.2)))
    halves = tuple(0.5 for _ in THRESHOLDS)
    cell = Cell(
        plan=Plan().key,
        intent="any",
        n=100,
        f1=0.4,
        f1_se=0.01,
        given=(1.0, *halves[1:]),
        wrong=halves,
        latency_p50_ms=1,
        latency_p95_ms=2,
        device_seconds=0.01,
        device_seconds_p95=0.01,
    )
    calibration = replace(CALIBRATION, cells=(cell,))
    with engine(calibration=calibration, profile=wanted) as asked:
        answer = asked.ask(QUESTION)
    assert answer.report[0].value == pytest.approx(calibration.expected_f1.at(answer.confidence))
    assert answer.report[0].value != answer.confidence


def test_no_passage_is_an_abstention() -> None:
    with engine(retriever=PassageList([])) as asked:
        answer = asked.ask(QUESTION)
    assert answer.abstained
    assert answer.abstain_reason == "no passage was found"


def test_explaining_says_that_nothing_would_be_read_out_of_scope() -> None:
    with engine(classifier=FixedClassifier("out_of_scope")) as asked:
        assert asked.explain(QUESTION).reason.startswith("nothing would be read: the question is out of the scope")


def test_what_is_surely_out_of_scope_is_not_read() -> None:
    model = ScriptedBackend()
    with engine(model, classifier=FixedClassifier("out_of_scope")) as asked:
        assert asked.ask(QUESTION).abstained
        assert model.answered == []
        assert asked.ask(QUESTION, profile(abstain=False)).text


@pytest.mark.parametrize(
    ("question", "intent", "kind"),
    [
        ("Is Alder on the Tarn?", "yes_no", "yes_no"),
        ("Is Alder older than Birch?", "comparison", "yes_no"),
        ("Name the towers.", "list", "list"),
        ("Why does the tower lean?", "explanation", "sentence"),
        ("Who built it?", "factoid", "span"),
        ("Which is older, Alder or Birch?", "comparison", "span"),
        ("Who was the mother of the builder?", "multi_hop", "span"),
    ],
)
def test_the_intent_sets_the_kind_of_answer(question: str, intent: str, kind: str) -> None:
    model = ScriptedBackend()
    with engine(model) as asked:
        asked.ask(question, intent=IntentPrediction.certain(intent))  # type: ignore[arg-type]
    assert model.answered[0].kind == kind


def test_a_doubtful_intent_asks_for_a_span() -> None:
    model = ScriptedBackend()
    spread = IntentPrediction({name: 0.4 if name == "list" else 0.1 for name in INTENTS})
    with engine(model) as asked:
        asked.ask("Name the towers.", intent=spread)
        asked.ask("Who is yes?", intent=IntentPrediction({name: 0.4 if name == "yes_no" else 0.1 for name in INTENTS}))
    assert [request.kind for request in model.answered] == ["span", "span"]


@pytest.mark.parametrize("question", ["", " \n\t", "x" * 20_001, "x" * 10_000_000])
def test_a_question_that_cannot_be_asked_names_the_remedy(question: str) -> None:
    with engine() as asked, pytest.raises(QuestionError) as caught:
        asked.ask(question)
    assert caught.value.remedy
    assert len(str(caught.value)) < 200


def test_an_answer_is_plain_json() -> None:
    with engine() as asked:
        answer = asked.ask(QUESTION, profile(deadline_ms=5000, usd=1.0))
    document = json.loads(json.dumps(answer.to_dict()))
    assert document["schema"] == 1
    assert document["usd"] == pytest.approx(0.001)
    assert {result["objective"] for result in document["report"]} == {"latency", "deadline", "cost"}
    assert all(result["met"] for result in document["report"])
    assert {"embed", "classify", "decide", "retrieve_1", "read", "verify", "total"} <= set(document["timings_ms"])
