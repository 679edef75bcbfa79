"""The index as a retriever of the agents."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Self

from ...sla.evidence import Passage
from ...sla.plan import RetrievalMethod
from ..embedder import Embedder
from ..ranking import Scores
from .index import Index

_DIRECT_UP_TO = 2_000
"""Passages: such a search takes less than 1 ms, less than a thread is worth."""


class IndexRetriever:
    """Searches `index`; questions are embedded by `embedder`, which must be the one that made the index."""

    def __init__(self, index: Index, embedder: Embedder | None = None) -> None:
        self.index = index
        self.embedder = embedder if embedder is not None else Embedder()
        index.require(self.embedder)

    @classmethod
    def open(cls, folder: Path | str, embedder: Embedder | None = None) -> Self:
        """Open the index in `folder`; raises `IndexFolderError` as `Index.open`, and for another embedder."""
        return cls(Index.open(folder), embedder)

    @property
    def embedder_fingerprint(self) -> str:
        """Names the weights behind `embed`."""
        return self.embedder.fingerprint

    async def embed(self, questions: list[str]) -> Scores:
        """Unit vectors of `questions`, float32 [n, dim]."""
        return await self.embedder.embed(questions)

    async def retrieve(
        self, question: str, *, method: RetrievalMethod, k: int, vector: Scores | None = None
    ) -> list[Passage]:
        """The best `k` passages, best first, ties by passage id."""
        if vector is None and method != "lexical":
            vector = (await self.embedder.embed([question]))[0]
        if len(self.index) <= _DIRECT_UP_TO:
            return self.index.search(question, method=method, k=k, vector=vector)
        return await asyncio.to_thread(self.index.search, question, method=method, k=k, vector=vector)

    def source_text(self, document_id: str) -> str | None:
        """The extracted text of a source; None if the index has no such document."""
        return self.index.source_text(document_id)

    def close(self) -> None:
        """Release the index and the embedder's thread."""
        self.index.close()
        self.embedder.close()
