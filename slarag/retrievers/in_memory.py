"""A retriever over passages that are given: reading mode, and small collections in tests."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from ..sla.evidence import Passage
from ..sla.plan import RetrievalMethod
from .embedder import Embedder
from .fusion import reciprocal_rank_fusion
from .lexical import LexicalIndex
from .ranking import Ranks, Rows, Scores, id_ranks, ordered
from .searchable import searchable

_MANY = 256
"""Passages from which indexing their words would hold up the loop."""


class MemoryRetriever:
    """Ranks `passages`; every one of them can be found, also without a common word.

    embedder: for dense search, which is lexical without one. sources: extracted texts by document id, where passages
    are pieces of them; without it a document of one passage from offset 0 is its own source.
    """

    def __init__(
        self,
        passages: Sequence[Passage],
        *,
        embedder: Embedder | None = None,
        sources: Mapping[str, str] | None = None,
    ) -> None:
        self._passages = tuple(passages)
        self._embedder = embedder
        self._sources = dict(sources) if sources is not None else _whole_documents(self._passages)
        self._vectors: Scores | None = None

    @property
    def embedder_fingerprint(self) -> str | None:
        """Names the weights behind `embed`; None without an embedder."""
        return self._embedder.fingerprint if self._embedder is not None else None

    async def embed(self, questions: list[str]) -> Scores | None:
        """Unit vectors of `questions`, float32 [n, dim]; None without an embedder."""
        return await self._embedder.embed(questions) if self._embedder is not None else None

    async def retrieve(
        self, question: str, *, method: RetrievalMethod, k: int, vector: Scores | None = None
    ) -> list[Passage]:
        """The best `k` passages, best first, ties by passage id."""
        if k < 1:
            raise ValueError(f"k {k!r} is not at least 1")
        if not self._passages:
            return []
        rows, scores = await self._rank(question, method, vector)
        best = zip(rows[:k].tolist(), scores[:k].tolist(), strict=True)
        return [replace(self._passages[row], score=score) for row, score in best]

    def source_text(self, document_id: str) -> str | None:
        """The extracted text of a source; None if it is not known."""
        return self._sources.get(document_id)

    async def _rank(self, question: str, method: RetrievalMethod, vector: Scores | None) -> tuple[Rows, Scores]:
        if method != "dense" and len(self._passages) > _MANY:
            await asyncio.to_thread(lambda: self._lexical)
        if method == "lexical" or self._embedder is None:
            return self._by_words(question)
        dense = await self._by_vector(self._embedder, question, vector)
        if method == "dense":
            return dense
        return reciprocal_rank_fusion([self._by_words(question)[0], dense[0]], self._ranks, len(self._passages))

    def _by_words(self, question: str) -> tuple[Rows, Scores]:
        return self._all(self._lexical.scores(question))

    async def _by_vector(self, embedder: Embedder, question: str, vector: Scores | None) -> tuple[Rows, Scores]:
        if self._vectors is None:
            self._vectors = await embedder.embed(
                [searchable(passage.title, passage.text) for passage in self._passages]
            )
        asked = vector if vector is not None else (await embedder.embed([question]))[0]
        return self._all(self._vectors @ asked)

    def _all(self, scores: Scores) -> tuple[Rows, Scores]:
        return ordered(np.arange(len(self._passages)), scores, self._ranks, len(self._passages))

    @cached_property
    def _lexical(self) -> LexicalIndex:
        return LexicalIndex.build(searchable(passage.title, passage.text) for passage in self._passages)

    @cached_property
    def _ranks(self) -> Ranks:
        return id_ranks([passage.passage_id for passage in self._passages])


def _whole_documents(passages: Sequence[Passage]) -> dict[str, str]:
    seen: dict[str, list[Passage]] = {}
    for passage in passages:
        seen.setdefault(passage.document_id, []).append(passage)
    return {name: found[0].text for name, found in seen.items() if len(found) == 1 and found[0].start == 0}
