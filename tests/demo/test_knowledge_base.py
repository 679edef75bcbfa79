"""The shipped knowledge base: pages that load, and questions that the pages answer or leave open as marked."""

from __future__ import annotations

import re
from collections import Counter
from functools import cache

import pytest

from slarag.demo import DemoQuestion, load_questions, pages_folder, questions_file
from slarag.retrievers.loaders import Corpus
from slarag.sla.intents import INTENTS

QUESTIONS = load_questions()
SPAN_QUESTIONS = [question for question in QUESTIONS if question.answers and question.intent != "yes_no"]
MINIMUM_WORDS = 250


@cache
def texts() -> dict[str, str]:
    """Extracted text by file name, as an index would hold it."""
    corpus = Corpus([pages_folder()], strict=True)
    return {str(document.metadata["document_id"]): document.page_content for document in corpus.documents()}


def asked(question: DemoQuestion) -> str:
    return question.id


def test_there_are_enough_pages_of_several_kinds() -> None:
    kinds = Counter(name.rpartition(".")[2] for name in texts())
    assert sum(kinds.values()) >= 30
    assert set(kinds) == {"md", "html", "txt"}


def test_every_page_is_an_article() -> None:
    short = {name: len(text.split()) for name, text in texts().items() if len(text.split()) < MINIMUM_WORDS}
    assert not short


def test_no_two_pages_say_the_same() -> None:
    sentences = Counter(
        sentence
        for text in texts().values()
        for sentence in set(re.split(r"(?<=[.!?])\s+", text))
        if len(sentence) > 30
    )
    assert not [sentence for sentence, pages in sentences.items() if pages > 1]


def test_html_pages_give_what_a_reader_sees() -> None:
    for name in ("rhine.html", "world-wide-web.html"):
        assert not re.search(r"<\w|&\w+;|font-family|className", texts()[name])
    assert "Graubünden" in texts()["rhine.html"]


@pytest.mark.parametrize("name", sorted(path.name for path in pages_folder().iterdir()))
def test_links_lead_to_pages(name: str) -> None:
    raw = (pages_folder() / name).read_text(encoding="utf-8")
    targets = set(re.findall(r"""[("]([\w-]+\.(?:md|html|txt))[)"]""", raw))
    assert targets
    assert targets <= set(texts()) - {name}


def test_questions_have_unique_ids_and_wordings() -> None:
    assert len({question.id for question in QUESTIONS}) == len(QUESTIONS)
    assert len({question.question.lower() for question in QUESTIONS}) == len(QUESTIONS)
    assert len(QUESTIONS) == len(questions_file().read_text(encoding="utf-8").splitlines())


def test_every_intent_is_asked() -> None:
    counts = Counter(question.intent for question in QUESTIONS)
    assert set(counts) == set(INTENTS)
    assert min(counts.values()) >= 6


def test_some_questions_have_no_answer() -> None:
    impossible = [question for question in QUESTIONS if question.is_impossible]
    assert len([question for question in impossible if question.intent != "out_of_scope"]) >= 8
    assert all(question.is_impossible == (not question.answers) == (not question.page) for question in QUESTIONS)
    assert all(question.is_impossible for question in QUESTIONS if question.intent == "out_of_scope")


def test_the_tour_is_varied() -> None:
    featured = [question for question in QUESTIONS if question.featured]
    assert len(featured) == 8
    assert {question.intent for question in featured} == set(INTENTS)
    assert any(question.is_impossible for question in featured)


@pytest.mark.parametrize("question", SPAN_QUESTIONS, ids=asked)
def test_answers_are_spans_of_their_pages(question: DemoQuestion) -> None:
    evidence = [texts()[page] for page in question.page]
    assert [answer for answer in question.answers if not any(answer in text for text in evidence)] == []


def test_yes_no_answers_are_yes_or_no() -> None:
    answers = {question.answers for question in QUESTIONS if question.intent == "yes_no" and question.answers}
    assert answers == {("yes",), ("no",)}


def test_pages_of_evidence_exist() -> None:
    assert {page for question in QUESTIONS for page in question.page} <= set(texts())
