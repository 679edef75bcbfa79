"""Reciprocal-rank fusion (Cormack, Clarke and Buettcher, SIGIR 2009)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .ranking import Ranks, Rows, Scores, ordered

RRF_K = 60
"""The paper's constant: how slowly the weight of a place falls."""


def reciprocal_rank_fusion(rankings: Sequence[Rows], ranks: Ranks, k: int) -> tuple[Rows, Scores]:
    """The best `k` rows of several rankings (each best first), by the sum of 1 / (60 + place)."""
    totals: dict[int, float] = {}
    for ranking in rankings:
        for place, row in enumerate(ranking.tolist(), start=1):
            totals[row] = totals.get(row, 0.0) + 1.0 / (RRF_K + place)
    rows = np.fromiter(totals.keys(), dtype=np.int64, count=len(totals))
    scores = np.fromiter(totals.values(), dtype=np.float32, count=len(totals))
    return ordered(rows, scores, ranks, k)
