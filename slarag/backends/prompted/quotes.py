"""Where a quote stands in a text."""

from __future__ import annotations

import re
import unicodedata

_ALIKE = {
    **dict.fromkeys('"“”„«»', '["“”„«»]'),
    **dict.fromkeys("'‘’‚`´", "['‘’‚`´]"),
    **dict.fromkeys("-‐‑‒–—−", "[-‐‑‒–—−]"),
}
_LATIN = "[0-9A-Za-zÀ-ÖØ-öø-ɏ]"
"""Scripts that part words by spaces; a quote may not begin or end inside such a word."""


def locate(text: str, quote: str) -> tuple[int, int] | None:
    """Start and end of the first place in `text` that reads as `quote`, or None.

    Runs of white space, letter case, how accents are encoded, and the typographic form of quotation marks and dashes
    may differ: models retype them. The offsets are of `text` as it is, in characters. "art" does not stand in "party".
    """
    if not quote.strip():
        return None
    exact = re.search(_whole(re.escape(quote.strip())), text)
    found = exact or re.search(
        _whole(r"\s+".join(map(_spelled, unicodedata.normalize("NFC", quote).split()))), text, re.IGNORECASE
    )
    return found.span() if found else None


def _whole(pattern: str) -> str:
    return f"(?:(?<!{_LATIN})|(?!{_LATIN})){pattern}(?:(?!{_LATIN})|(?<!{_LATIN}))"


def _spelled(word: str) -> str:
    return "".join(_ALIKE.get(letter) or _encoded(letter) for letter in word)


def _encoded(letter: str) -> str:
    apart = unicodedata.normalize("NFD", letter)
    return re.escape(letter) if apart == letter else f"(?:{re.escape(letter)}|{re.escape(apart)})"
