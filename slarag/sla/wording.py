"""The wording of a question as numbers: cues to its intent that do not depend on its topic.

All of it ignores letter case and the final question mark, because people leave both out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from .cue_words import (
    AUXILIARIES,
    BEGINNINGS,
    COMPARING,
    FIRST_PERSON,
    FUNCTION_WORDS,
    KINDS,
    LIST_OPENERS,
    NUMBER_WORDS,
    OPINIONS,
    ORDER_OPENERS,
    PREPOSITIONS,
    QUANTITIES,
    REASONS,
    RELATIVES,
    SECOND_PERSON,
    TELLING_OPENERS,
    WH,
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
NAMES = (
    *_NAMED,
    *(f"first:{word}" for word in (*WH, *AUXILIARIES)),
    *(f"begins:{words}" for words in BEGINNINGS),
    *(f"has:{word}" for word in FUNCTION_WORDS),
)
"""What each component of `wording` is."""

_WORD_AT = {word: index for index, word in enumerate(FUNCTION_WORDS)}
_BEGIN_AT = {words: index for index, words in enumerate(BEGINNINGS)}
_FIRST_AT = {word: index for index, word in enumerate((*WH, *AUXILIARIES))}
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
    has_wh = any(word in WH for word in words)
    auxiliary = first in AUXILIARIES
    yield float(auxiliary)
    yield float(any(a in (",", ":") and b in AUXILIARIES for a, b in pairwise(words)))
    yield float(opener in LIST_OPENERS)
    yield float(opener in TELLING_OPENERS)
    yield float(opener in ORDER_OPENERS)
    yield float(first in WH)
    yield float(has_wh and first not in WH)
    yield float(not has_wh and not auxiliary)
    yield float(first == "how" and second in QUANTITIES)
    yield float(first == "how" and second not in QUANTITIES)
    yield float(first in PREPOSITIONS and second in WH)
    yield float(words[-1] in WH or (len(words) > 1 and words[-2] in ("what", "which", "whose")))


def _linking(words: list[str]) -> Iterator[float]:
    inside = words[2:]
    relatives = sum(word in RELATIVES for word in inside)
    ofs = words.count("of")
    possessives = sum(word.endswith("'s") for word in words[1:])
    pairs = list(pairwise(words))
    yield min(ofs, 3) / 2
    yield min(sum(a == "of" and b == "the" for a, b in pairs), 3) / 2
    yield min(possessives, 2) / 2
    yield min(relatives, 3) / 2
    yield float(any(a in RELATIVES and b in AUXILIARIES for a, b in pairs[1:]))
    yield float(ofs + possessives + relatives >= 2)


def _comparing(words: list[str]) -> Iterator[float]:
    at_or = len(words) - 1 - words[::-1].index("or") if "or" in words else -1
    compared = sum(word in COMPARING for word in words)
    yield min(compared, 3) / 2
    yield float(at_or > 0)
    yield float(at_or > 0 and len(words) - at_or <= 8 and len(words) > at_or + 1)
    yield float("both" in words and "and" in words)
    yield float(any(word.endswith("est") and len(word) > 4 for word in words) or "most" in words)
    yield float(any(word.endswith("er") and words[i + 1] == "than" for i, word in enumerate(words[:-1])))


def _asking_for_several(words: list[str]) -> Iterator[float]:
    after_wh = words[1:4] if words[0] in ("what", "which") else []
    plural = next((i for i, word in enumerate(after_wh) if _plural(word)), -1)
    follower = after_wh[plural + 1] if 0 <= plural < len(after_wh) - 1 else ""
    compared = any(word in COMPARING for word in words)
    yield float(any(word in REASONS for word in words))
    yield float(any(word in OPINIONS for word in words))
    yield float(any(word in KINDS for word in words))
    yield float(plural >= 0)
    yield float(plural >= 0 and follower in ("are", "were", "have", "do", "can", "did"))
    yield float(any(a in NUMBER_WORDS and _plural(b) for a, b in pairwise(words)))
    yield float(bool(after_wh) and after_wh[0] in ("are", "were"))
    yield float(any(word in FIRST_PERSON for word in words))
    yield float(any(word in SECOND_PERSON for word in words))
    yield float("please" in words)
    yield float(words[0] in AUXILIARIES and compared)
    yield float(bool(after_wh) and any(word in KINDS for word in words[1:6]))


def _plural(word: str) -> bool:
    return len(word) > 3 and word.endswith("s") and word not in AUXILIARIES and not _NOT_PLURAL.search(word)
