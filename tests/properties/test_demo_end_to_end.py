"""Over the shipped knowledge base, with the real index and embedder: quotes stand in their sources, answers repeat.

The reader is the one of `examples/own_backend.py`: quick, and the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from slarag import Answer, Engine, Plan
from slarag.demo import load_questions, pages_folder
from slarag.retrievers.index import IndexRetriever, build_index

from ..examples.programs import UNHURRIED, load

PLANS = {
    "mapped": None,
    "plain": Plan(retrieval="hybrid", passages=4),
    "hops": Plan(retrieval="lexical", passages=6, rerank=True, hops=2),
    "replicas": Plan(retrieval="hybrid", passages=4, replicas=3, arbitration="confidence"),
}
"""What the mapper decides, and one plan of each kind of graph."""


@pytest.fixture(scope="module")
def retrievers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[IndexRetriever, IndexRetriever]]:
    """The index, opened twice, so that the two runs share nothing."""
    folder = tmp_path_factory.mktemp("demo") / "index"
    build_index([pages_folder()], folder)
    opened = IndexRetriever.open(folder), IndexRetriever.open(folder)
    yield opened
    for retriever in opened:
        retriever.close()


@pytest.fixture(scope="module", params=PLANS)
def two_runs(
    request: pytest.FixtureRequest, retrievers: tuple[IndexRetriever, IndexRetriever]
) -> tuple[list[Answer], list[Answer]]:
    first, second = (ask_everything(retriever, PLANS[request.param]) for retriever in retrievers)
    return first, second


def ask_everything(retriever: IndexRetriever, plan: Plan | None) -> list[Answer]:
    with Engine.open(retriever, backend=load("own_backend").SentenceReader(), profile=UNHURRIED) as engine:
        return [engine.ask(question.question, plan=plan) for question in load_questions()]


def test_every_quote_stands_in_its_source(
    retrievers: tuple[IndexRetriever, IndexRetriever], two_runs: tuple[list[Answer], list[Answer]]
) -> None:
    index = retrievers[0].index
    sources = {name: index.source_text(name) or "" for name in index.document_ids()}
    citations = [citation for answer in two_runs[0] for citation in answer.citations]
    assert [c for c in citations if sources[c.document_id][c.start : c.end] != c.quote] == []
    assert len({citation.document_id for citation in citations}) > 20


def test_every_given_answer_is_cited(two_runs: tuple[list[Answer], list[Answer]]) -> None:
    assert all(answer.citations for answer in two_runs[0] if answer.text)
    assert any(answer.text for answer in two_runs[0])


def test_the_same_question_gets_the_same_answer(two_runs: tuple[list[Answer], list[Answer]]) -> None:
    assert [said(answer) for answer in two_runs[0]] == [said(answer) for answer in two_runs[1]]


def said(answer: Answer) -> tuple[object, ...]:
    passages = tuple(passage.passage_id for passage in answer.passages)
    return answer.text, answer.best_text, answer.abstained, answer.confidence, answer.citations, answer.intent, passages
