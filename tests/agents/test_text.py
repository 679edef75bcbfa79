"""What the second hop asks, and how a question opens."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slarag.agents.retriever import interleave
from slarag.agents.text import MAX_NEW_WORDS, asks_for_several, asks_yes_or_no, coverage, follow_up
from slarag.sla.evidence import Passage


def passage(name: str, text: str = "", title: str = "") -> Passage:
    return Passage(passage_id=name, document_id=name, text=text, title=title)


def test_the_second_hop_asks_for_what_the_first_one_found() -> None:
    question = "What office did the woman hold who played Corliss Archer in Kiss and Tell?"
    found = passage("1", "It is a comedy. Shirley Temple played Corliss Archer in Kiss and Tell. It sold well.", "Kiss")
    assert follow_up(question, found) == "office woman hold Shirley Temple"


def test_nothing_new_asks_the_same_again() -> None:
    assert follow_up("Who built it?", passage("1", "Who built it?")) == "Who built it?"
    assert follow_up("Who built it?", passage("1")) == "Who built it?"


@pytest.mark.parametrize(
    ("question", "share"),
    [
        ("Who painted the ceiling?", 1.0),
        ("Who painted the ceilings of palaces?", 2 / 3),
        ("Who sailed to Crete?", 0.0),
        ("Who was that?", 1.0),
    ],
)
def test_coverage_is_the_share_of_the_topic_that_a_passage_speaks_of(question: str, share: float) -> None:
    assert coverage(question, passage("1", "Its ceiling is by Tiepolo.", "Painters")) == pytest.approx(share)


@settings(deadline=None)
@given(st.text(max_size=80), st.text(max_size=400), st.text(max_size=40))
def test_the_second_query_is_short_and_never_empty(question: str, text: str, title: str) -> None:
    asked = follow_up(question, passage("1", text, title))
    assert asked or not question
    assert len(asked.split()) <= max(len(question.split()), len(question) + MAX_NEW_WORDS)


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("Is Alder on the Tarn?", True),
        ("Did she leave?", True),
        ("Isn't it so?", True),
        ("Is Alder or Birch older?", False),
        ("Who is it?", False),
        ("", False),
        ("???", False),
    ],
)
def test_yes_or_no(question: str, expected: bool) -> None:
    assert asks_yes_or_no(question) is expected


@settings(deadline=None)
@given(st.lists(st.integers(0, 9), unique=True), st.lists(st.integers(0, 9), unique=True))
def test_interleaving_keeps_all_once_and_both_bests_first(one: list[int], other: list[int]) -> None:
    mixed = [p.passage_id for p in interleave([[passage(str(n)) for n in ranking] for ranking in (one, other)])]
    assert sorted(mixed) == sorted({str(n) for n in [*one, *other]})
    assert set(mixed[:2]) >= {str(ranking[0]) for ranking in (one, other) if ranking}


@pytest.mark.parametrize(
    ("question", "several"),
    [
        ("Who were the first programmers of ENIAC?", True),
        ("which are the four large moons of Jupiter", True),
        ("What are the names of the crew?", True),
        ("Who was the first of the programmers?", False),
        ("What is the name of his sisters?", False),
        ("What are the boss and the bus?", False),
        ("Who were they?", False),
        ("", False),
    ],
)
def test_who_several_were_is_told_by_the_plural(question: str, several: bool) -> None:
    assert asks_for_several(question) is several
