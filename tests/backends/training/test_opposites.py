from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slarag.backends.training.opposites import opposite


@pytest.mark.parametrize(
    ("sentence", "allowed"),
    [
        ("Aspirin increases the risk.", {"Aspirin decreases the risk."}),
        ("Decreased uptake was seen.", {"Increased uptake was seen.", "Decreased uptake was not seen."}),
        ("Masks are safe.", {"Masks are unsafe.", "Masks are not safe."}),
        ("Masks are not harmful.", {"Masks are harmful.", "Masks are not beneficial."}),
        ("It does not spread by air.", {"It spread by air."}),
    ],
)
def test_the_opposite_is_one_of_those_the_sentence_allows(sentence: str, allowed: set[str]) -> None:
    made = {opposite(sentence, random.Random(seed)) for seed in range(40)}
    assert made == allowed


def test_what_allows_no_way_has_no_opposite() -> None:
    assert opposite("Galileo found Io in 1610.", random.Random(0)) is None


def test_a_sentence_is_not_negated_twice() -> None:
    assert opposite("There are no cures.", random.Random(0)) is None


@given(st.text(max_size=200), st.integers(0, 5))
def test_an_opposite_differs_from_its_sentence(sentence: str, seed: int) -> None:
    assert opposite(sentence, random.Random(seed)) != sentence
