"""Scores of one answer against the gold answers: SQuAD's exact match and F1, with HotpotQA's rule for yes and no."""

from __future__ import annotations

from dataclasses import dataclass

from ..sla.matching import exact_match, normalise_answer, token_f1
from .item import EvalItem

CORRECT_F1 = 0.5
"""An answer counts as right from this F1 on, with the gold answer that it matches best."""

_CLOSED = frozenset({"yes", "no", "noanswer"})


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """One answer's scores; each in [0, 1], None where the data has no answer key.

    exact_match, f1: of the reply, where abstaining scores 1 on an unanswerable question and 0 on an answerable one.
    f1_forced: of the best candidate, given or withheld; None on unanswerable questions.
    correct: whether the best candidate is right; never on unanswerable questions. wrong: a wrong reply was given.
    """

    exact_match: float | None = None
    f1: float | None = None
    f1_forced: float | None = None
    correct: bool | None = None
    wrong: bool | None = None


def answer_f1(answer: str, gold: str) -> float:
    """Token F1 as in SQuAD; where one side is yes or no, all or nothing as in HotpotQA's official script."""
    ours, theirs = normalise_answer(answer), normalise_answer(gold)
    if ours != theirs and (ours in _CLOSED or theirs in _CLOSED):
        return 0.0
    return token_f1(answer, gold)


def best_answer_f1(answer: str, golds: tuple[str, ...]) -> float:
    """The best `answer_f1` with any gold answer; 0 without golds and for an empty answer."""
    return max((answer_f1(answer, gold) for gold in golds), default=0.0) if answer.strip() else 0.0


def score(item: EvalItem, *, text: str, best_text: str, abstained: bool) -> Scores:
    """Score a reply: `text` as given, `best_text` the best candidate whether given or not."""
    if not item.has_answer_key:
        return Scores()
    if item.is_impossible:
        reward = float(abstained)
        return Scores(exact_match=reward, f1=reward, correct=False, wrong=not abstained)
    given = "" if abstained else text
    f1 = best_answer_f1(given, item.answers)
    forced = best_answer_f1(best_text, item.answers)
    return Scores(
        exact_match=float(bool(given.strip()) and any(exact_match(given, gold) for gold in item.answers)),
        f1=f1,
        f1_forced=forced,
        correct=forced >= CORRECT_F1,
        wrong=not abstained and f1 < CORRECT_F1,
    )
