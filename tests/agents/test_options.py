"""Questions that name their answers."""

from __future__ import annotations

import pytest

from slarag.agents.options import held_to, options_of
from slarag.backends.protocol import AnswerResult
from slarag.sla.evidence import Passage
from tests.fakes import quote, reading

TEXT = (
    "The Volga, 3,530 km long, is the longest river of Europe. It feeds Lake Ladoga? No: the Neva leaves Lake Ladoga, "
    "and Lake Onega feeds it. Voyager 2 left on 20 August, Voyager 1 on 5 September. Thomas Loren Friedman writes."
)
PASSAGE = Passage(passage_id="p", document_id="d", text=TEXT)


def _held(question: str, *candidates: tuple[str, float], no_answer: float = 0.0) -> AnswerResult:
    result = reading(*(quote(PASSAGE, text, probability) for text, probability in candidates), no_answer=no_answer)
    return held_to(options_of(question), [PASSAGE], result)


@pytest.mark.parametrize(
    ("question", "options"),
    [
        ("Which is longer, the Volga or the Danube?", ("Volga", "Danube")),
        ("Which is longest, the Rhine, the Danube, or the Volga?", ("Rhine", "Danube", "Volga")),
        ("which melts at a higher temperature, iron or gold", ("iron", "gold")),
        ("Which band, Letters to Cleo or Screaming Trees, had more members?", ("Letters to Cleo", "Screaming Trees")),
        ("Which came first: Sacred Planet or Oz the Great?", ("Sacred Planet", "Oz the Great")),
        ("Who was born first Am Rong or Ava DuVernay ?", ("Am Rong", "Ava DuVernay")),
        ("Is the Volga or the Danube longer?", ("Volga", "Danube")),
        ("Who studied at Harvard or Yale?", ()),
        ("What do people wear during the feast or to celebrate it?", ()),
        ("When did the Volga freeze, in 1900 or 1901?", ()),
        ("Assuming p is a prime other than 2 or 5, what is 1/p?", ()),
        ("Who was it?", ()),
        ("Is it longer" + " " * 20_000 + "than this?", ()),
    ],
)
def test_a_question_offers_what_stands_on_both_sides_of_its_or(question: str, options: tuple[str, ...]) -> None:
    assert options_of(question) == options


def test_an_answer_is_one_of_the_options_where_one_is_read() -> None:
    held = _held("Which is longer, the Volga or the Danube?", ("3,530 km", 0.6), ("Volga", 0.1), no_answer=0.2)
    assert [candidate.text for candidate in held.candidates] == ["Volga"]
    assert held.candidates[0].probability == pytest.approx(0.8)


def test_without_an_option_the_reading_stays() -> None:
    held = _held("Which is longer, the Rhine or the Danube?", ("3,530 km", 0.6), ("Volga", 0.1))
    assert [candidate.text for candidate in held.candidates] == ["3,530 km", "Volga"]


@pytest.mark.parametrize(
    ("question", "read", "answer"),
    [
        ("Which lake is deeper, Lake Constance or Lake Ladoga?", "Ladoga", "Lake Ladoga"),
        ("Which lake is deeper, Lake Constance or Lake Ladoga?", "the Neva leaves Lake Ladoga", "Lake Ladoga"),
        ("Which was launched first, Voyager 1 or Voyager 2?", "Voyager 2", "Voyager 2"),
        ("Who won more, Thomas Friedman or Henri Bergson?", "Friedman", "Thomas Loren Friedman"),
    ],
)
def test_an_answer_grows_or_shrinks_to_the_option_as_its_source_names_it(question: str, read: str, answer: str) -> None:
    candidate = _held(question, (read, 0.5)).candidates[0]
    assert candidate.text == answer
    assert TEXT[candidate.spans[0].start : candidate.spans[0].end] == answer


def test_a_word_that_options_share_names_none_of_them() -> None:
    question = "Which lake is deeper, Lake Constance or Lake Ladoga?"
    held = _held(question, ("Lake Onega", 0.6), ("leaves Lake Ladoga", 0.1))
    assert [candidate.text for candidate in held.candidates] == ["Lake Ladoga"]
    assert [c.text for c in _held("Which is older, Voyager 1 or Voyager 2?", ("20 August", 0.6)).candidates] == [
        "20 August"
    ]


def test_an_option_has_what_its_candidates_have_together() -> None:
    question = "Which was launched first, Voyager 1 or Voyager 2?"
    held = _held(question, ("Voyager 1", 0.3), ("Voyager 2", 0.2), ("Voyager 2 left", 0.2))
    assert [candidate.text for candidate in held.candidates] == ["Voyager 2", "Voyager 1"]
    assert sum(candidate.probability for candidate in held.candidates) == pytest.approx(1.0)
