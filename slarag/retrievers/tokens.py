"""The words that lexical search matches on."""

from __future__ import annotations

import importlib
import re
import threading
import unicodedata
from functools import cache
from typing import Any, cast

TOKENIZER = "word-fold-english-1"
"""Names this procedure; an index made with another one has other words in it."""

_WORD = re.compile(r"\w+")


class _PerThread(threading.local):
    """A Snowball stemmer keeps state while it works, so every thread has its own."""

    def __init__(self) -> None:
        self.stemmer: Any = cast(Any, importlib.import_module("Stemmer")).Stemmer("english")


@cache
def _per_thread() -> _PerThread:
    return _PerThread()


@cache
def _stop_words() -> frozenset[str]:
    stopwords: Any = importlib.import_module("bm25s.stopwords")
    return frozenset(stopwords.STOPWORDS_EN_PLUS)


def tokens(text: str) -> list[str]:
    """The stems of the words of `text`: lower case, without accents, without English stop words."""
    stop = _stop_words()
    words = [word for word in _WORD.findall(_folded(text)) if word not in stop]
    return cast(list[str], _per_thread().stemmer.stemWords(words))


def _folded(text: str) -> str:
    lower = text.lower()
    if lower.isascii():
        return lower
    parts = unicodedata.normalize("NFKD", lower)
    return "".join(char for char in parts if not unicodedata.combining(char))
