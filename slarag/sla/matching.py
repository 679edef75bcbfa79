"""When two answers are the same: SQuAD's normalisation, exact match and token F1 (Rajpurkar et al., 2016)."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Iterable

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalise_answer(text: str) -> str:
    """Lower case, without punctuation, articles and extra white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def exact_match(answer: str, gold: str) -> bool:
    """Whether the two are equal when normalised."""
    return normalise_answer(answer) == normalise_answer(gold)


def token_f1(answer: str, gold: str) -> float:
    """Harmonic mean of token precision and recall in [0, 1]; an empty side scores 1 only against an empty side."""
    ours, theirs = normalise_answer(answer).split(), normalise_answer(gold).split()
    if not ours or not theirs:
        return float(ours == theirs)
    common = sum((Counter(ours) & Counter(theirs)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(ours), common / len(theirs)
    return 2 * precision * recall / (precision + recall)


def best_f1(answer: str, golds: Iterable[str]) -> float:
    """The best `token_f1` with any gold answer; 0 without golds."""
    return max((token_f1(answer, gold) for gold in golds), default=0.0)
