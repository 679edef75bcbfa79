"""Arbitration: which answer wins, and when nothing still to come can change it."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slarag.agents.arbitration import settle, suffices
from slarag.agents.state import Reading
from slarag.backends.protocol import Candidate, Span
from tests.agents.support import broken, made, said

TEXTS = ["Armstrong", "Collins", "1969", "the Moon"]
ANSWERS = st.tuples(st.sampled_from(TEXTS), st.integers(1, 99).map(lambda n: n / 100))
READINGS = st.lists(ANSWERS, min_size=1, max_size=5).map(
    lambda answers: [said(replica, answer, at=float(replica)) for replica, answer in enumerate(answers)]
)


def winner(arbitration: Any, readings: list[Reading]) -> str:
    return settle(arbitration, readings).ranking[0].candidate.text


def test_the_first_is_the_first_to_arrive() -> None:
    readings = [said(0, ("Collins", 0.9), at=2.0), said(1, ("Armstrong", 0.1), at=1.0)]
    assert winner("first", readings) == "Armstrong"


def test_the_majority_wins_over_the_surest() -> None:
    readings = [said(0, ("Collins", 0.99)), said(1, ("Armstrong", 0.3)), said(2, ("Armstrong", 0.2))]
    assert winner("majority", readings) == "Armstrong"
    assert winner("confidence", readings) == "Collins"


def test_a_tie_of_votes_goes_to_the_summed_probability_then_to_the_lower_replica() -> None:
    assert winner("majority", [said(0, ("Collins", 0.3)), said(1, ("Armstrong", 0.4))]) == "Armstrong"
    assert winner("majority", [said(1, ("Armstrong", 0.3)), said(0, ("Collins", 0.3))]) == "Collins"


def test_overlapping_spans_of_a_source_are_one_answer_to_confidence() -> None:
    readings = [said(0, ("July 1969", 0.4)), said(1, ("In July 1969", 0.35)), said(2, ("Armstrong", 0.6))]
    settled = settle("confidence", readings)
    assert settled.ranking[0].candidate.text == "July 1969"
    assert settled.agreement == pytest.approx(2 / 3)


def test_a_second_choice_counts_for_confidence() -> None:
    readings = [said(0, ("Collins", 0.5), ("Armstrong", 0.45)), said(1, ("Armstrong", 0.5))]
    assert winner("confidence", readings) == "Armstrong"


def test_yes_and_no_on_one_sentence_stay_two_answers() -> None:
    span = (Span(passage_id="p", start=0, end=20),)
    yes, no = (Candidate(text=text, spans=span, probability=p) for text, p in (("yes", 0.6), ("no", 0.3)))
    assert [c.candidate.text for c in settle("confidence", [made(0, yes, no)]).ranking] == ["yes", "no"]


def test_readings_without_an_answer_have_no_vote() -> None:
    settled = settle("majority", [broken(0), made(1), said(2, ("Armstrong", 0.2))])
    assert settled.ranking[0].candidate.text == "Armstrong"
    assert settled.agreement == 1.0
    assert settle("majority", [broken(0)]).ranking == ()


@pytest.mark.parametrize("arbitration", ["majority", "confidence"])
@settings(deadline=None)
@given(readings=READINGS)
def test_the_order_of_arrival_does_not_matter(arbitration: Any, readings: list[Reading]) -> None:
    orders = [list(order) for order in list(permutations(readings))[:24]]
    assert [settle(arbitration, order) for order in orders[1:]] == [settle(arbitration, readings)] * len(orders[1:])
    rule = suffices(arbitration, len(readings) + 1)
    assert len({rule(order) for order in orders}) == 1


@pytest.mark.parametrize("arbitration", ["majority", "confidence"])
@settings(deadline=None)
@given(readings=READINGS, cut=st.integers(1, 5))
def test_a_settled_race_cannot_be_overtaken(arbitration: Any, readings: list[Reading], cut: int) -> None:
    early = readings[:cut]
    if suffices(arbitration, len(readings))(early):
        assert winner(arbitration, early) == winner(arbitration, readings)


def test_two_of_three_that_agree_suffice() -> None:
    rule = suffices("majority", 3)
    assert not rule([said(0, ("Armstrong", 0.5))])
    assert not rule([said(0, ("Armstrong", 0.5)), said(1, ("Collins", 0.5))])
    assert rule([said(0, ("Armstrong", 0.5)), said(1, ("Armstrong", 0.5))])
