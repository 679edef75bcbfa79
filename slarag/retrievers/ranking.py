"""Orders rows by score, ties by the rank of their passage id, so that equal scores never depend on storage order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
Scores = npt.NDArray[np.float32]
Ranks = npt.NDArray[np.int64]


def id_ranks(passage_ids: list[str]) -> Ranks:
    """The place of every row in the sorted order of passage ids, int64 [n]."""
    order = sorted(range(len(passage_ids)), key=passage_ids.__getitem__)
    ranks = np.empty(len(order), dtype=np.int64)
    ranks[order] = np.arange(len(order))
    return ranks


def ordered(rows: Rows, scores: Scores, ranks: Ranks, k: int) -> tuple[Rows, Scores]:
    """The best `k` of the candidates `rows` with their `scores`, best first."""
    order = np.lexsort((ranks[rows], -scores))[:k]
    return rows[order], scores[order]


def best_rows(scores: Scores, ranks: Ranks, k: int) -> tuple[Rows, Scores]:
    """The best `k` of all rows with a positive score; `scores` float32 [n]."""
    rows = np.flatnonzero(scores > 0)
    if len(rows) > k:
        threshold = np.partition(scores[rows], len(rows) - k)[len(rows) - k]
        rows = rows[scores[rows] >= threshold]
    return ordered(rows, scores[rows], ranks, k)
