"""BM25 over the words of passages, by bm25s; saved as .npy arrays and JSON, never pickled."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self, cast

import numpy as np

from .ranking import Ranks, Rows, Scores, best_rows
from .tokens import tokens

_NO_WORD = ""
_SETTINGS: dict[str, Any] = {"method": "lucene", "k1": 1.5, "b": 0.75, "backend": "numpy", "csc_backend": "numpy"}


class LexicalIndex:
    """BM25 scores of passages for a question."""

    def __init__(self, bm25: Any, size: int) -> None:
        self._bm25 = bm25
        self._size = size

    @classmethod
    def build(cls, texts: Iterable[str]) -> Self:
        """Index `texts`, one row each, in order."""
        vocabulary: dict[str, int] = {_NO_WORD: 0}
        # A row without a word gets the empty one, which no question holds: bm25s cannot score rows without any.
        rows = [
            [vocabulary.setdefault(token, len(vocabulary)) for token in tokens(text)] or [vocabulary[_NO_WORD]]
            for text in texts
        ]
        bm25: Any = cast(Any, importlib.import_module("bm25s")).BM25(**_SETTINGS)
        bm25.index((rows, vocabulary), show_progress=False)
        return cls(bm25, len(rows))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Map what `save` wrote."""
        bm25s: Any = importlib.import_module("bm25s")
        bm25: Any = bm25s.BM25.load(folder, mmap=True, allow_pickle=False, show_progress=False)
        return cls(bm25, int(bm25.scores["num_docs"]))

    def save(self, folder: Path) -> None:
        """Write the scores, the vocabulary and the settings into `folder`."""
        self._bm25.save(folder, allow_pickle=False, show_progress=False)

    def scores(self, question: str) -> Scores:
        """The BM25 score of every row, float32 [n]; 0 without a common word."""
        ids: list[int] = self._bm25.get_tokens_ids(tokens(question))
        if not ids:
            return np.zeros(self._size, dtype=np.float32)
        return cast(Scores, self._bm25.get_scores_from_ids(ids))

    def search(self, question: str, k: int, ranks: Ranks) -> tuple[Rows, Scores]:
        """The best `k` rows that share a word with `question`, best first."""
        return best_rows(self.scores(question), ranks, k)
