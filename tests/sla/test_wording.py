from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slarag.sla.wording import NAMES, wording


def cues(question: str) -> set[str]:
    return {name for name, value in zip(NAMES, wording(question), strict=True) if value}


@given(st.text(max_size=300))
def test_any_text_gives_finite_components(text: str) -> None:
    found = wording(text)
    assert found.shape == (len(NAMES),)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    assert found.min(initial=0) >= 0
    assert found.max(initial=0) <= 4


@given(st.text(alphabet=st.characters(max_codepoint=127), max_size=100))
def test_letter_case_and_the_question_mark_do_not_matter(text: str) -> None:
    assert np.array_equal(wording(text), wording(text.upper()))
    assert np.array_equal(wording(text), wording(text + "?"))


def test_component_names_are_unique() -> None:
    assert len(set(NAMES)) == len(NAMES)


@pytest.mark.parametrize(
    ("question", "cue"),
    [
        ("Is Berlin in Germany?", "opens_with_auxiliary"),
        ("MRI of the knee: is it needed?", "auxiliary_after_comma"),
        ("List the moons of Mars", "opens_with_listing"),
        ("please list the moons", "opens_with_listing"),
        ("Summarize the meeting", "opens_with_telling"),
        ("set an alarm for five", "opens_with_order"),
        ("How many moons has Mars?", "how_quantity"),
        ("How does a battery work?", "how_manner"),
        ("In which city was she born?", "preposition_then_wh"),
        ("The river flows through what?", "wh_at_end"),
        ("Who was the wife of the director of Alien?", "nested"),
        ("What is the mayor's wife's name?", "possessive_count"),
        ("Which is older, Rome or Athens?", "x_or_y_at_end"),
        ("Are both Rome and Athens old?", "both_and"),
        ("What is the tallest tower?", "superlative"),
        ("Is Rome older than Athens?", "comparative"),
        ("What was the reason for the delay?", "reasons"),
        ("What did the designer think about the colour?", "opinions"),
        ("What types of rock are there?", "kinds"),
        ("Which proteins bind zinc?", "plural_after_wh"),
        ("Which proteins are bound?", "plural_then_are"),
        ("Name three rivers of France", "number_word_plural"),
        ("What are the moons of Mars?", "are_after_wh"),
        ("where did i park my car", "first_person"),
        ("who are you", "second_person"),
        ("who won in 1998", "year"),
    ],
)
def test_a_cue_is_seen(question: str, cue: str) -> None:
    assert cue in cues(question)


def test_a_very_long_text_costs_no_more_than_its_beginning() -> None:
    assert np.array_equal(wording("what is x " * 1000), wording(("what is x " * 1000)[:2000]))


def test_nothing_gives_nothing() -> None:
    assert not wording("").any()
    assert not wording("???").any()
