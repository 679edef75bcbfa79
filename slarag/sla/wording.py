"""The wording of a question as numbers: cues to its intent that do not depend on its topic.

All of it ignores letter case and the final question mark, because people leave both out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

FUNCTION_WORDS = tuple(
    "a about after all also am among an and any are as at be because become before being best between both but by called "
    "can compare compared could current did difference different do does each earlier either every example examples "
    "explain feature features first following for from get give had has have he her his how i if in into is it its kind "
    "kinds last later latest least less like list long longer main many may me mean meaning more most much my name named "
    "need new not of older on one only or other our please possible same say set should show so some tell than that the "
    "their them there these they think this those three to two type types under use used using very was we well were "
    "what when where which who whom whose why will with without work would year you younger your".split()
)
"""Words that carry form rather than topic."""

_WH = ("what", "which", "who", "whom", "whose", "when", "where", "why", "how")
_AUXILIARIES = (
    "is are was were am do does did has have had can could will would should may might must "
    "isn't aren't wasn't weren't don't doesn't didn't hasn't haven't can't won't"
).split()
_LIST_OPENERS = "list name enumerate identify give mention".split()
_TELLING_OPENERS = "explain describe summarize summarise discuss outline elaborate clarify analyze analyse define".split()
_ORDER_OPENERS = "set turn play call book order remind make start stop cancel change find open send check pay put add let".split()
_QUANTITIES = "many much long old far often tall big large high fast deep heavy wide hot cold soon late".split()
_FIRST_PERSON = "i i'm i'd i'll i've me my mine we us our im ive".split()
_SECOND_PERSON = "you your yours you're youre u".split()
_RELATIVES = ("that", "which", "who", "whose", "whom", "where", "when")
_COMPARING = (
    "than both same similar between versus vs or either compared earlier later older younger longer bigger larger taller "
    "higher smaller closer newer better worse faster more less greater fewer first common".split()
)
_REASONS = "why reason reasons cause causes because purpose impact effect effects affect process difference differences".split()
_OPINIONS = "think thought opinion opinions discussion discussed discuss conclusion view views attitude suggest".split()
_KINDS = (
    "types kinds examples methods drugs features symptoms countries components names members ways steps parts areas "
    "groups factors benefits advantages elements categories states cities books games films movies roles uses".split()
)
_NOT_PLURAL = re.compile(r"(ss|us|is|'s|ous|ness)$")
_WORD = re.compile(r"[a-z0-9][a-z0-9'’\-]*|,|;|:|\"")

_NAMED = (
    "words_log",
    "words_over_12",
    "words_over_20",
    "commas",
    "quotes",
    "colon",
    "digits",
    "year",
    "opens_with_auxiliary",
    "auxiliary_after_comma",
    "opens_with_listing",
    "opens_with_telling",
    "opens_with_order",
    "wh_first",
    "wh_inside",
    "no_wh_and_no_auxiliary",
    "how_quantity",
    "how_manner",
    "preposition_then_wh",
    "wh_at_end",
    "of_count",
    "of_the_count",
    "possessive_count",
    "relative_inside",
    "verb_relative",
    "nested",
    "comparing_count",
    "or_inside",
    "x_or_y_at_end",
    "both_and",
    "superlative",
    "comparative",
    "reasons",
    "opinions",
    "kinds",
    "plural_after_wh",
    "plural_then_are",
    "number_word_plural",
    "are_after_wh",
    "first_person",
    "second_person",
    "please",
    "auxiliary_and_comparing",
    "list_after_wh",
)
_BEGINNINGS = tuple(
    "what is|what are|what was|what were|what did|what does|what do|what year|what type|what kind|what can|which of|who is|"
    "who was|who were|who did|when did|when was|when is|where is|where was|where did|how many|how much|how long|how old|"
    "how do|how does|how did|how can|how to|how is|how are|why is|why are|why do|why does|why did|is it|is there|are there|"
    "are both|do both|did the|is the|was the|can you|could you|i need|i want|tell me|what's the|what's my|in what|in which|"
    "on what|at what|from what|which film|between the|of the|do i|what film|which country|were both".split("|")
)
NAMES = (
    *_NAMED,
    *(f"first:{word}" for word in (*_WH, *_AUXILIARIES)),
    *(f"begins:{words}" for words in _BEGINNINGS),
    *(f"has:{word}" for word in FUNCTION_WORDS),
)
"""What each component of `wording` is."""

_WORD_AT = {word: index for index, word in enumerate(FUNCTION_WORDS)}
_BEGIN_AT = {words: index for index, words in enumerate(_BEGINNINGS)}
_FIRST_AT = {word: index for index, word in enumerate((*_WH, *_AUXILIARIES))}
_NUMBER_WORDS = frozenset("two three four five six seven eight nine ten 2 3 4 5 several some various".split())
_PREPOSITIONS = frozenset("in on at of for from to by with during under into".split())
_MAX_CHARACTERS = 2000


def wording(question: str) -> npt.NDArray[np.float32]:
    """The components that `NAMES` lists, float32 [len(NAMES)], most of them 0 or 1."""
    words = _WORD.findall(question[:_MAX_CHARACTERS].lower().replace("’", "'"))
    found = np.zeros(len(NAMES), dtype=np.float32)
    if not words:
        return found
    named = np.fromiter(_named(words), dtype=np.float32, count=len(_NAMED))
    found[: len(_NAMED)] = named
    at = len(_NAMED)
    if (first := _FIRST_AT.get(words[0])) is not None:
        found[at + first] = 1
    at += len(_FIRST_AT)
    if (begin := _BEGIN_AT.get(" ".join(words[:2]))) is not None:
        found[at + begin] = 1
    at += len(_BEGIN_AT)
    for word in words:
        if (index := _WORD_AT.get(word)) is not None:
            found[at + index] = 1
    return found


def _named(words: list[str]) -> Iterator[float]:
    yield from _shape(words)
    yield from _opening(words)
    yield from _linking(words)
    yield from _comparing(words)
    yield from _asking_for_several(words)


def _shape(words: list[str]) -> Iterator[float]:
    yield float(np.log1p(len(words))) / 3
    yield float(len(words) > 12)
    yield float(len(words) > 20)
    yield min(words.count(","), 4) / 2
    yield float('"' in words)
    yield float(":" in words)
    yield float(any(word.isdigit() for word in words))
    yield float(any(len(word) == 4 and word.isdigit() for word in words))


def _opening(words: list[str]) -> Iterator[float]:
    first, second = words[0], words[1] if len(words) > 1 else ""
    opener = second if first in ("please", "can", "could") and second != "you" else first
    has_wh = any(word in _WH for word in words)
    auxiliary = first in _AUXILIARIES
    yield float(auxiliary)
    yield float(any(a in (",", ":") and b in _AUXILIARIES for a, b in zip(words, words[1:], strict=False)))
    yield float(opener in _LIST_OPENERS)
    yield float(opener in _TELLING_OPENERS)
    yield float(opener in _ORDER_OPENERS)
    yield float(first in _WH)
    yield float(has_wh and first not in _WH)
    yield float(not has_wh and not auxiliary)
    yield float(first == "how" and second in _QUANTITIES)
    yield float(first == "how" and second not in _QUANTITIES)
    yield float(first in _PREPOSITIONS and second in _WH)
    yield float(words[-1] in _WH or (len(words) > 1 and words[-2] in ("what", "which", "whose")))


def _linking(words: list[str]) -> Iterator[float]:
    inside = words[2:]
    relatives = sum(word in _RELATIVES for word in inside)
    ofs = words.count("of")
    possessives = sum(word.endswith("'s") for word in words[1:])
    pairs = list(zip(words, words[1:], strict=False))
    yield min(ofs, 3) / 2
    yield min(sum(a == "of" and b == "the" for a, b in pairs), 3) / 2
    yield min(possessives, 2) / 2
    yield min(relatives, 3) / 2
    yield float(any(a in _RELATIVES and b in _AUXILIARIES for a, b in pairs[1:]))
    yield float(ofs + possessives + relatives >= 2)


def _comparing(words: list[str]) -> Iterator[float]:
    at_or = len(words) - 1 - words[::-1].index("or") if "or" in words else -1
    compared = sum(word in _COMPARING for word in words)
    yield min(compared, 3) / 2
    yield float(at_or > 0)
    yield float(0 < at_or and len(words) - at_or <= 8 and len(words) > at_or + 1)
    yield float("both" in words and "and" in words)
    yield float(any(word.endswith("est") and len(word) > 4 for word in words) or "most" in words)
    yield float(any(word.endswith("er") and words[i + 1] == "than" for i, word in enumerate(words[:-1])))


def _asking_for_several(words: list[str]) -> Iterator[float]:
    after_wh = words[1:4] if words[0] in ("what", "which") else []
    plural = next((i for i, word in enumerate(after_wh) if _plural(word)), -1)
    follower = after_wh[plural + 1] if 0 <= plural < len(after_wh) - 1 else ""
    compared = any(word in _COMPARING for word in words)
    yield float(any(word in _REASONS for word in words))
    yield float(any(word in _OPINIONS for word in words))
    yield float(any(word in _KINDS for word in words))
    yield float(plural >= 0)
    yield float(plural >= 0 and follower in ("are", "were", "have", "do", "can", "did"))
    yield float(any(a in _NUMBER_WORDS and _plural(b) for a, b in zip(words, words[1:], strict=False)))
    yield float(bool(after_wh) and after_wh[0] in ("are", "were"))
    yield float(any(word in _FIRST_PERSON for word in words))
    yield float(any(word in _SECOND_PERSON for word in words))
    yield float("please" in words)
    yield float(words[0] in _AUXILIARIES and compared)
    yield float(bool(after_wh) and any(word in _KINDS for word in words[1:6]))


def _plural(word: str) -> bool:
    return len(word) > 3 and word.endswith("s") and word not in _AUXILIARIES and not _NOT_PLURAL.search(word)
