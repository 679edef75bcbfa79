from __future__ import annotations

import pytest

from slarag.evals.item import EvalItem
from slarag.evals.scoring import answer_f1, score


@pytest.mark.parametrize(
    ("answer", "gold", "f1"),
    [
        ("the Eiffel Tower", "Eiffel Tower", 1.0),
        ("Eiffel", "Eiffel Tower", 2 / 3),
        ("in Paris, France", "Paris", 0.5),
        ("to be or not to be", "to be", 2 * (2 / 6) * 1 / (2 / 6 + 1)),
        ("Rome", "Paris", 0.0),
        ("yes", "yes", 1.0),
        ("yes it is", "yes", 0.0),
        ("no", "yes", 0.0),
    ],
)
def test_f1_is_the_official_formula(answer: str, gold: str, f1: float) -> None:
    assert answer_f1(answer, gold) == pytest.approx(f1)


def test_the_best_of_several_gold_answers_counts() -> None:
    item = EvalItem(item_id="1", question="?", answers=("14 December 1972 UTC", "December 1972"))
    scores = score(item, text="December 1972", best_text="December 1972", abstained=False)
    assert (scores.exact_match, scores.f1, scores.f1_forced) == (1.0, 1.0, 1.0)
    assert (scores.correct, scores.wrong) == (True, False)


def test_a_withheld_answer_scores_nothing_but_its_best_text_does() -> None:
    item = EvalItem(item_id="1", question="?", answers=("Paris",))
    scores = score(item, text="", best_text="Paris", abstained=True)
    assert (scores.exact_match, scores.f1, scores.f1_forced) == (0.0, 0.0, 1.0)
    assert (scores.correct, scores.wrong) == (True, False)


@pytest.mark.parametrize(("abstained", "reward"), [(True, 1.0), (False, 0.0)])
def test_an_unanswerable_question_rewards_abstaining(abstained: bool, reward: float) -> None:
    item = EvalItem(item_id="1", question="?", is_impossible=True)
    scores = score(item, text="" if abstained else "Paris", best_text="Paris", abstained=abstained)
    assert (scores.exact_match, scores.f1, scores.f1_forced) == (reward, reward, None)
    assert (scores.correct, scores.wrong) == (False, not abstained)


def test_an_answer_under_half_of_the_f1_is_wrong() -> None:
    item = EvalItem(item_id="1", question="?", answers=("a red big bus",))
    text = "one green small bus"
    assert score(item, text=text, best_text=text, abstained=False).wrong


def test_without_an_answer_key_nothing_is_scored() -> None:
    scores = score(EvalItem(item_id="1", question="?"), text="x", best_text="x", abstained=False)
    assert scores.f1 is None
    assert scores.wrong is None
