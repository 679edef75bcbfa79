"""What the agents ask of retrieval."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ..sla.evidence import Passage
from ..sla.plan import RetrievalMethod


class PassageRetriever(Protocol):
    """Finds passages. Implemented by the index of this package and by the adapter of a LangChain `BaseRetriever`.

    One that embeds may say with what in an attribute `embedder_fingerprint: str | None`; the shipped intent classifier
    reads only the vectors of the embedder that it was trained with, and goes by the wording where that is not said.
    """

    async def embed(self, questions: list[str]) -> np.ndarray | None:
        """Unit vectors of `questions`, float32 [n, dim]; None when this retriever has no embedder."""
        ...

    async def retrieve(
        self, question: str, *, method: RetrievalMethod, k: int, vector: np.ndarray | None = None
    ) -> list[Passage]:
        """The best `k` passages, best first, ties by passage id. `vector` float32 [dim] saves embedding it."""
        ...

    def source_text(self, document_id: str) -> str | None:
        """The extracted text of a source, for checking quotes; None if it is not kept."""
        ...
