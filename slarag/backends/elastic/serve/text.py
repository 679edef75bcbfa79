"""Tokens to text while they come, and stop texts in it."""

from __future__ import annotations

from collections.abc import Sequence

from tokenizers import Tokenizer
from tokenizers.decoders import DecodeStream


class TextStream:
    """The text of one answer. What may be the start of a stop text is held back until it is known."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str]) -> None:
        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._stop = tuple(stop)
        self._held = ""
        self.is_stopped = False

    def push(self, token: int) -> str:
        """Take a token; returns the text that is certain now."""
        self._held += self._stream.step(self._tokenizer, token) or ""
        found = [at for stop in self._stop if (at := self._held.find(stop)) >= 0]
        if found:
            self.is_stopped = True
            self._held = self._held[: min(found)]
            return self.flush()
        kept = max((_overlap(self._held, stop) for stop in self._stop), default=0)
        text = self._held[: len(self._held) - kept]
        self._held = self._held[len(text) :]
        return text

    def flush(self) -> str:
        """What was held back, once no token follows."""
        text, self._held = self._held, ""
        return text


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` starts with."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
