from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slarag.sla.matching import best_f1, exact_match, normalise_answer, token_f1


def test_normalisation_is_that_of_squad() -> None:
    assert normalise_answer(" The  Cat, an owl & a dog!") == "cat owl dog"
    assert normalise_answer("U.S.-based") == "usbased"


@pytest.mark.parametrize(
    ("answer", "gold", "f1"),
    [
        ("the Danube", "Danube", 1.0),
        ("river Danube", "Danube", 2 / 3),
        ("Rhine", "Danube", 0.0),
        ("", "", 1.0),
        ("", "Danube", 0.0),
        ("the", "Danube", 0.0),
        ("to be or not to be", "to be", 0.5),
    ],
)
def test_token_f1(answer: str, gold: str, f1: float) -> None:
    assert token_f1(answer, gold) == pytest.approx(f1)


@given(st.text(max_size=40), st.text(max_size=40))
def test_f1_is_symmetric_bounded_and_one_for_equals(one: str, other: str) -> None:
    assert token_f1(one, other) == token_f1(other, one)
    assert 0.0 <= token_f1(one, other) <= 1.0
    assert token_f1(one, one) == 1.0
    if exact_match(one, other):
        assert token_f1(one, other) == 1.0


def test_the_best_gold_answer_counts() -> None:
    assert best_f1("1610", ["January 1610", "1610"]) == 1.0
    assert best_f1("1610", []) == 0.0
