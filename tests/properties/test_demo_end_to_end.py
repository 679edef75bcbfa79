"""Over the shipped knowledge base, with the real index and embedder: quotes stand in their sources, answers repeat.

The reader is the one of `examples/own_backend.py`: quick, and the same on every machine.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from slarag import Answer, Engine
from slarag.demo import load_questions, pages_folder
from slarag.retrievers.index import IndexRetriever, build_index
from slarag.sla.plan import Plan

from ..examples.programs import load

PLANS = (
    Plan(retrieval="hybrid", passages=4),
    Plan(retrieval="lexical", passages=6, rerank=True, hops=2),
    Plan(retrieval="hybrid", passages=4, replicas=3, arbitration="confidence"),
)
"""One plan of each kind of graph."""


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo") / "index"
    build_index([pages_folder()], folder)
    return folder


def ask_everything(index: Path, plan: Plan) -> list[Answer]:
    with Engine.open(index, backend=load("own_backend").SentenceReader(), profile="thorough") as engine:
        return [engine.ask(question.question, plan=plan) for question in load_questions()]


@pytest.fixture(scope="module", params=PLANS, ids=lambda plan: plan.key)
def two_runs(request: pytest.FixtureRequest, index: Path) -> tuple[list[Answer], list[Answer]]:
    return ask_everything(index, request.param), ask_everything(index, request.param)


def test_every_quote_stands_in_its_source(index: Path, two_runs: tuple[list[Answer], list[Answer]]) -> None:
    retriever = IndexRetriever.open(index)
    sources = {name: retriever.source_text(name) or "" for name in retriever.index.document_ids()}
    retriever.close()
    citations = [citation for answer in two_runs[0] for citation in answer.citations]
    wrong = [c for c in citations if sources[c.document_id][c.start : c.end] != c.quote]
    assert not wrong
    assert len({citation.document_id for citation in citations}) > 20


def test_every_given_answer_is_cited(two_runs: tuple[list[Answer], list[Answer]]) -> None:
    assert all(answer.citations for answer in two_runs[0] if answer.text)
    assert any(answer.text for answer in two_runs[0])


def test_the_same_question_gets_the_same_answer(two_runs: tuple[list[Answer], list[Answer]]) -> None:
    assert [said(answer) for answer in two_runs[0]] == [said(answer) for answer in two_runs[1]]


def said(answer: Answer) -> tuple[object, ...]:
    passages = tuple(passage.passage_id for passage in answer.passages)
    return answer.text, answer.best_text, answer.abstained, answer.confidence, answer.citations, answer.intent, passages
