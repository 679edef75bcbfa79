"""Words of questions: how one opens, and what a first hop found that it does not say."""

from __future__ import annotations

import re

from ..sla.evidence import Passage

MAX_NEW_WORDS = 12
_STEM = 6
_TO_NOUN = 7
_PLURAL = re.compile(r"\w{3,}(?<![aiousy'’])s$")
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


def asks_for_several(question: str) -> bool:
    """Whether the question asks by its grammar who or what several things are: "Who were the first programmers?"."""
    words = _WORD.findall(question.lower())[:_TO_NOUN]
    opens = (
        len(words) > 2 and words[0] in ("who", "what", "which") and words[1] in ("are", "were") and words[2] == "the"
    )
    return opens and any(_PLURAL.search(word) for word in words[3:])


def follow_up(question: str, passage: Passage) -> str:
    """The next hop's query: what `passage` leaves open of the question, and the names it brings.

    Left open are the question's words that the passage does not have; the names are new words with a capital or a digit
    in its title and in its sentence that shares most words with the question, because a bridge between two documents is
    nearly always a name. Of 100 training questions of HotpotQA and of MuSiQue, lexical search for 8 passages found all
    evidence of 70 and 22 in one hop, of 84 and 42 in two, of 77 and 37 where the second query kept the whole question.
    Returns `question` when the passage brings nothing new.
    """
    known = _content(question)
    covered = _content(f"{passage.title} {passage.text}")
    sentence = _most_informative(passage.text, known)
    found = list(dict.fromkeys([*_new_words(passage.title, known), *_new_words(sentence, known)]))
    names = [word for word in found if word[0].isupper() or word[0].isdigit()]
    if not found:
        return question
    left_open = [word for word in _WORD.findall(question) if word.lower() in known - covered]
    return " ".join([*left_open, *(names or found)[:MAX_NEW_WORDS]])


def coverage(question: str, passage: Passage) -> float:
    """The share in [0, 1] of the question's words that stand in `passage` or its title; 1 for a question without any.

    Words that carry form rather than topic do not count; neither does how a word is inflected, roughly.
    """
    wanted = {_stem(word) for word in _content(question)}
    held = {_stem(word) for word in _content(f"{passage.title} {passage.text}")}
    return len(wanted & held) / len(wanted) if wanted else 1.0


def _stem(word: str) -> str:
    return word[:_STEM] if len(word) > _STEM else word.rstrip("s")


def _content(text: str) -> set[str]:
    return {word for word in _WORD.findall(text.lower()) if word not in _STOP}


def _new_words(text: str, known: set[str]) -> list[str]:
    return [word for word in _WORD.findall(text) if word.lower() not in known and word.lower() not in _STOP]


def _most_informative(text: str, known: set[str]) -> str:
    """The sentence with the most words of the question; the first of several, and only if it says something new."""
    sentences = [sentence for sentence in _SENTENCE_END.split(text) if _new_words(sentence, known)]
    return max(sentences, key=lambda sentence: len(_content(sentence) & known), default="")
