"""Words of questions: how one opens, and what a first hop found that it does not say."""

from __future__ import annotations

import re
from collections.abc import Sequence

from ..sla.evidence import Passage

MAX_NEW_WORDS = 12
_WORD = re.compile(r"[^\W_]+(?:['’.-][^\W_]+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
_YES_NO_OPENERS = """
    is are was were am do does did has have had can could will would shall should may might must
    isn't aren't wasn't weren't don't doesn't didn't hasn't haven't hadn't can't couldn't won't wouldn't
"""
_COMMON = """
    a an and are as at be been but by can could did do does for from had has have he her his how i if in into is it its
    many may more most much no not of on or our out over she so some such than that the their them then there these they
    this to under until up was we were what when where which while who whom whose why will with would you your
"""
_YES_NO = frozenset(_YES_NO_OPENERS.split())
_STOP = frozenset(_COMMON.split())


def asks_yes_or_no(question: str) -> bool:
    """Whether the question opens as a yes/no question does in English: with an auxiliary, and no "or" in it."""
    words = _WORD.findall(question.lower())
    return bool(words) and words[0] in _YES_NO and "or" not in words


def follow_up(question: str, passages: Sequence[Passage]) -> str:
    """The next hop's query: the question and what the best passage says beyond it.

    Of the passage: its title, and the new words of the sentence that shares most words with the question. Named things
    come first, because a bridge between two documents is nearly always a name. Returns `question` when nothing is new.
    """
    if not passages:
        return question
    known = _content(question)
    sentence = _most_informative(passages[0].text, known)
    found = [*_new_words(passages[0].title, known), *_new_words(sentence, known)]
    named = [word for word in found if word[0].isupper() or word[0].isdigit()]
    rest = [word for word in found if word not in named]
    new = list(dict.fromkeys([*named, *rest]))[:MAX_NEW_WORDS]
    return " ".join([question, *new])


def _content(text: str) -> set[str]:
    return {word for word in _WORD.findall(text.lower()) if word not in _STOP}


def _new_words(text: str, known: set[str]) -> list[str]:
    return [word for word in _WORD.findall(text) if word.lower() not in known and word.lower() not in _STOP]


def _most_informative(text: str, known: set[str]) -> str:
    """The sentence with the most words of the question; the first of several, and only if it says something new."""
    sentences = [sentence for sentence in _SENTENCE_END.split(text) if _new_words(sentence, known)]
    return max(sentences, key=lambda sentence: len(_content(sentence) & known), default="")
