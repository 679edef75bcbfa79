"""Text pairs as token windows that know where their tokens stand in the passage."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from tokenizers import Encoding, Tokenizer

from ...sla.errors import ConfigurationError

MAX_WINDOW_TOKENS = 384
OVERLAP_TOKENS = 96
MAX_FIRST_TOKENS = 128


@dataclass(frozen=True, slots=True)
class Window:
    """`[CLS] first [SEP] part of the passage [SEP]`.

    ids: tokens. first_length: tokens before the passage part. offsets: per passage token of this window, the characters
    of the whole word it belongs to, start and end in the passage. budget: the share of the full model's FLOPs that
    reading it may cost, in (0, 1].
    """

    ids: list[int]
    first_length: int
    offsets: list[tuple[int, int]]
    budget: float = 1.0


class Windower:
    """Makes windows; a passage is tokenised once for all the questions asked of it."""

    def __init__(self, tokenizer: Tokenizer, cached_passages: int = 4096) -> None:
        self._tokenizer = tokenizer
        self._cls, self._sep = special_ids(tokenizer)
        self._passage = lru_cache(maxsize=cached_passages)(self._encode_passage)

    def windows(self, first: str, passage: str, budget: float = 1.0) -> list[Window]:
        """The overlapping windows of one pair, each to be read within `budget`; a passage without tokens gives none.

        Of a `first` that is too long the end is kept: there stands what is asked, and of a claim the answer.
        """
        head = [self._cls, *self._encode(first).ids[-MAX_FIRST_TOKENS:], self._sep]
        ids, words = self._passage(passage)
        room = MAX_WINDOW_TOKENS - len(head) - 1
        return [
            Window([*head, *ids[at : at + room], self._sep], len(head), words[at : at + room], budget)
            for at in _window_starts(len(ids), room)
        ]

    def _encode(self, text: str) -> Encoding:
        # As a batch of one, for which other threads may run meanwhile.
        return self._tokenizer.encode_batch([text], add_special_tokens=False)[0]

    def _encode_passage(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        encoding = self._encode(text)
        placed = list(zip(encoding.word_ids, encoding.offsets, strict=True))
        words: dict[int, tuple[int, int]] = {}
        for word, (start, end) in placed:
            if word is not None:
                words[word] = (words[word][0] if word in words else start, end)
        return encoding.ids, [place if word is None else words[word] for word, place in placed]


def special_ids(tokenizer: Tokenizer) -> tuple[int, int]:
    """The ids of `[CLS]` and `[SEP]`; raises `ConfigurationError` for a tokenizer without them."""
    cls, sep = tokenizer.token_to_id("[CLS]"), tokenizer.token_to_id("[SEP]")
    if cls is None or sep is None:
        raise ConfigurationError("the tokenizer has no [CLS] or [SEP]", remedy="use the parent's tokenizer.json")
    return cls, sep


def _window_starts(length: int, room: int) -> list[int]:
    if length == 0:
        return []
    starts = [0]
    while starts[-1] + room < length:
        starts.append(min(starts[-1] + room - OVERLAP_TOKENS, length - room))
    return starts
