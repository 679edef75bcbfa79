"""Nearest unit vectors by FAISS: exact for small collections, an HNSW graph above `APPROXIMATE_ABOVE`."""

from __future__ import annotations

import errno
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .ranking import Ranks, Rows, Scores, ordered

APPROXIMATE_ABOVE = 20_000
"""Passages: from here on the graph is the faster one, also on a busy machine, and up to here nothing is missed.

Measured on one core of a two-core machine, 384 components, clustered unit vectors, 50 neighbours: exact 0.5, 1.2 and
2.3 ms at 10, 20 and 40 thousand vectors, the graph 0.9, 0.7 and 0.8 ms with recall 0.995 to 1. Exact search reads all
vectors, so where other work wants the memory too it takes 4 to 8 ms at 30 thousand. `bench/index.py` measures again.
"""

_LINKS = 32
_BUILD_EFFORT = 128
_SEARCH_EFFORT = 128
_TIE_ROOM = 16
_TRAINING_ROWS = 10_000
_ADDED_AT_ONCE = 2_048


class DenseIndex(Protocol):
    """Rows nearest to a vector by inner product."""

    def search(self, vector: Scores, k: int, ranks: Ranks) -> tuple[Rows, Scores]:
        """The best `k` rows for `vector`, float32 [dim], best first."""
        ...


class ExactIndex:
    """Compares with every vector: FAISS's flat inner-product search over an array that may be memory-mapped."""

    def __init__(self, vectors: Scores) -> None:
        self._vectors = vectors

    def search(self, vector: Scores, k: int, ranks: Ranks) -> tuple[Rows, Scores]:
        """The best `k` rows for `vector`, float32 [dim], best first."""
        faiss, size = _faiss(), len(self._vectors)
        wanted = min(k + _TIE_ROOM, size)
        while True:
            found = faiss.knn(vector.reshape(1, -1), self._vectors, wanted, metric=faiss.METRIC_INNER_PRODUCT)
            scores, rows = found[0][0], found[1][0]
            # When the last found ties with the k-th, others that tie may have been left out.
            if wanted == size or scores[-1] < scores[k - 1]:
                return ordered(rows, scores, ranks, k)
            wanted = min(4 * wanted, size)


class HnswIndex:
    """A navigable graph (Malkov and Yashunin, 1603.09320) over 8-bit vectors; the found are scored again exactly."""

    def __init__(self, graph: Any, vectors: Scores) -> None:
        self._graph = graph
        self._vectors = vectors

    @classmethod
    def build(cls, vectors: Scores, progress: Callable[[int], None] = lambda done: None) -> HnswIndex:
        """Link `vectors`, float32 [n, dim]; `progress` gets the number of rows done."""
        faiss = _faiss()
        kind = faiss.ScalarQuantizer.QT_8bit
        graph = faiss.IndexHNSWSQ(vectors.shape[1], kind, _LINKS, faiss.METRIC_INNER_PRODUCT)
        graph.hnsw.efConstruction = _BUILD_EFFORT
        graph.train(vectors[:: max(1, len(vectors) // _TRAINING_ROWS)])
        for start in range(0, len(vectors), _ADDED_AT_ONCE):
            graph.add(vectors[start : start + _ADDED_AT_ONCE])
            progress(min(start + _ADDED_AT_ONCE, len(vectors)))
        return cls(graph, vectors)

    @classmethod
    def load(cls, path: Path, vectors: Scores) -> HnswIndex:
        """Read what `save` wrote."""
        return cls(_faiss().read_index(str(path)), vectors)

    def save(self, path: Path) -> None:
        """Write the graph in FAISS's own format; raises `OSError` when the disk refuses."""
        try:
            _faiss().write_index(self._graph, str(path))
        except RuntimeError as error:
            raise OSError(errno.EIO, f"FAISS could not write {path.name!r}") from error

    def search(self, vector: Scores, k: int, ranks: Ranks) -> tuple[Rows, Scores]:
        """The best `k` rows for `vector`, float32 [dim], best first; about one in a hundred is missed."""
        faiss = _faiss()
        wanted = min(2 * k + _TIE_ROOM, len(self._vectors))
        effort = faiss.SearchParametersHNSW(efSearch=max(_SEARCH_EFFORT, 2 * wanted))
        rows: Rows = self._graph.search(vector.reshape(1, -1), wanted, params=effort)[1][0]
        rows = rows[rows >= 0]
        scores = np.asarray(self._vectors[rows] @ vector, dtype=np.float32)
        return ordered(rows, scores, ranks, k)


def _faiss() -> Any:
    faiss: Any = importlib.import_module("faiss")
    # The setting belongs to the calling thread: one query never takes the cores of another.
    faiss.omp_set_num_threads(1)
    return faiss
