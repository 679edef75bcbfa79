"""Quotes are found where they stand, and nowhere else."""

from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slarag.backends.prompted.quotes import locate

WORDS = st.lists(st.text("ab1é🌍“’—.()*+?\\", min_size=1, max_size=6), min_size=1, max_size=12)
SPACES = st.sampled_from([" ", "\n", "\t", "\u00a0", "  ", " \n "])


def plain(text: str) -> str:
    text = unicodedata.normalize("NFC", text)
    for family in ('"“”„«»', "'‘’‚`´", "-‐‑‒–—−"):
        text = re.sub(f"[{re.escape(family)}]", family[0], text)
    return " ".join(text.split()).casefold().replace("i\u0307", "i").replace("ı", "i")


@settings(deadline=None, max_examples=60)
@given(WORDS, st.data())
def test_a_quote_of_whole_words_is_found_whatever_its_spaces(words: list[str], data: st.DataObject) -> None:
    text = "".join(word + data.draw(SPACES) for word in words)
    start = data.draw(st.integers(0, len(words) - 1))
    end = data.draw(st.integers(start + 1, len(words)))
    found = locate(text, data.draw(SPACES).join(words[start:end]))
    assert found is not None
    assert plain(text[found[0] : found[1]]) == plain(" ".join(words[start:end]))


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=60), st.text(max_size=8))
def test_what_is_found_reads_as_the_quote(text: str, quote: str) -> None:
    found = locate(text, quote)
    if found is not None:
        start, end = found
        assert 0 <= start < end <= len(text)
        assert plain(text[start:end]) == plain(quote)


@pytest.mark.parametrize(
    ("text", "quote", "found"),
    [
        ("The party began.", "art", None),
        ("In 1066 they came.", "106", None),
        ("In 1066 they came.", "1066", "1066"),
        ("it costs 5 dollars (or 4.50).", "(or 4.50).", "(or 4.50)."),
        ("中国北京是首都", "北京", "北京"),
        ("She said “no” — twice.", 'She said "no" - twice.', "She said “no” — twice."),
        ("the Cafe\u0301 opened", "Café", "Cafe\u0301"),
        ("the Café opened", "Cafe\u0301", "Café"),
        ("THE END", "The End", "THE END"),
        ("a cat, a Cat", "Cat", "Cat"),
        ("anything", " \n", None),
        ("", "x", None),
    ],
)
def test_examples(text: str, quote: str, found: str | None) -> None:
    place = locate(text, quote)
    assert (place and text[place[0] : place[1]]) == found
