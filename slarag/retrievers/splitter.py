"""Cuts a text into passages that are exact slices of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

DEFAULT_SIZE = 900
"""Characters: about 200 word pieces, so that a passage and a question fit one reader window of 384 tokens."""

DEFAULT_OVERLAP = 100
"""Characters shared by neighbours that no paragraph border parts."""

# From the best place to cut to the worst; a cut falls after what matches.
_BORDERS = (
    re.compile(r"\n\s*\n"),
    re.compile(r"[.!?\u2026\u3002\uff01\uff1f][\"'\u201d\u2019)\]]*\s"),
    re.compile(r"\n"),
    re.compile(r"[;:,]\s"),
    re.compile(r"\s"),
)
_SENTENCE_START = re.compile(r"(?<=[.!?\u2026\u3002\uff01\uff1f\n])\s+(?=\S)")
_WORD_START = re.compile(r"\s+(?=\S)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Splitter:
    """Cuts at paragraph, sentence, clause or word borders, into pieces of about equal length.

    size: most characters of a passage. overlap: about how many characters a passage repeats of the one before it.
    """

    size: int = DEFAULT_SIZE
    overlap: int = DEFAULT_OVERLAP

    def __post_init__(self) -> None:
        if self.size < 20 or not 0 <= self.overlap <= self.size // 2:
            raise ValueError(
                f"size {self.size!r} must be at least 20 and overlap {self.overlap!r} between 0 and half of it"
            )

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """`(start, end)` of every passage, in order: trimmed of white space and never empty; nothing else is lost."""
        start, length = _skip_space(text, 0), len(text.rstrip())
        while start < length:
            end = self._end(text, start, length)
            trimmed = start + len(text[start:end].rstrip())
            yield start, trimmed
            if end >= length:
                return
            start = self._next_start(text, start, end)

    def _end(self, text: str, start: int, length: int) -> int:
        left = length - start
        if left <= self.size:
            return length
        # Equal pieces instead of full ones and a crumb: a crumb of a few words is a poor passage.
        pieces = -(-left // self.size)
        target = start + -(-left // pieces)
        low, high = start + (target - start) // 2, start + self.size
        return self._best_border(text, low, target, high)

    @staticmethod
    def _best_border(text: str, low: int, target: int, high: int) -> int:
        for border in _BORDERS:
            ends = [match.end() for match in border.finditer(text, low, high)]
            if ends:
                return min(ends, key=lambda end: (abs(end - target), end))
        return high

    def _next_start(self, text: str, start: int, end: int) -> int:
        at_paragraph = _BORDERS[0].search(text, max(start, end - 3), end) is not None
        if at_paragraph or not self.overlap:
            return _skip_space(text, end)
        # Up to half as much again may be repeated to begin with a whole sentence.
        low = max(start + 1, end - self.overlap - self.overlap // 2)
        sentence = _SENTENCE_START.search(text, low, end)
        word = _WORD_START.search(text, max(start + 1, end - self.overlap), end)
        found = sentence or word
        return found.end() if found and found.end() < end else _skip_space(text, end)


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    return at
