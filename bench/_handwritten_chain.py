"""The chain that a LangChain user writes by hand: FAISS retriever, then a reader over the passages of one question.

The same embedder, vectors and reader weights as slarag's; nothing is shared between questions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import faiss
import numpy as np
import torch
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.runnables import Runnable, RunnableLambda, RunnablePassthrough
from langchain_core.vectorstores import VectorStore
from transformers import AutoTokenizer

from slarag.backends.reader.model import end_logits
from slarag.backends.reader.parent import parent_folder
from slarag.backends.reader.store import load_reader
from slarag.retrievers.embedder import Embedder
from slarag.retrievers.index import Index

MAX_TOKENS = 384


class SentenceEmbeddings(Embeddings):
    """all-MiniLM-L6-v2 behind LangChain's interface, a call for each text."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return self._embedder.encode(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        return self._embedder.encode([text])[0].tolist()


class FlatStore(VectorStore):
    """Exact inner-product search in FAISS behind LangChain's interface; documents stay in a list beside the index."""

    def __init__(self, embedding: Embeddings) -> None:
        self._embedding = embedding
        self._documents: list[Document] = []
        self._index: Any = None

    @property
    def embeddings(self) -> Embeddings:
        return self._embedding

    def add_vectors(self, documents: Iterable[Document], vectors: np.ndarray) -> None:
        if self._index is None:
            self._index = faiss.IndexFlatIP(vectors.shape[1])
        self._index.add(np.ascontiguousarray(vectors, dtype=np.float32))
        self._documents.extend(documents)

    def similarity_search(self, query: str, k: int = 4, **kwargs: Any) -> list[Document]:
        vector = np.array([self._embedding.embed_query(query)], dtype=np.float32)
        _, rows = self._index.search(vector, min(k, len(self._documents)))
        return [self._documents[row] for row in rows[0]]

    @classmethod
    def from_texts(
        cls, texts: list[str], embedding: Embeddings, metadatas: list[dict[str, Any]] | None = None, **kwargs: Any
    ) -> FlatStore:
        store = cls(embedding)
        documents = [
            Document(page_content=text, metadata=metadata)
            for text, metadata in zip(texts, metadatas or [{}] * len(texts), strict=True)
        ]
        store.add_vectors(documents, np.array(embedding.embed_documents(texts), dtype=np.float32))
        return store


class SpanReader:
    """Reads the passages of one question in one padded batch and gives the likeliest span, as pipelines do."""

    def __init__(self) -> None:
        self._model, _ = load_reader()
        self._tokenizer: Any = AutoTokenizer.from_pretrained(str(parent_folder()))

    def __call__(self, inputs: dict[str, Any]) -> str:
        texts = [document.page_content for document in inputs["documents"]]
        return self.answer(inputs["question"], texts) if texts else ""

    def answer(self, question: str, texts: Sequence[str]) -> str:
        encoded = self._tokenizer(
            [question] * len(texts),
            list(texts),
            truncation="only_second",
            max_length=MAX_TOKENS,
            padding=True,
            return_tensors="pt",
            return_offsets_mapping=True,
        )
        with torch.inference_mode():
            lengths = encoded["attention_mask"].sum(-1)
            output = self._model(encoded["input_ids"], encoded["token_type_ids"], lengths)
            log_start = output.start.log_softmax(-1)
            best_start, starts = log_start[:, 1:].max(-1)
            starts = starts + 1
            log_end, ends = end_logits(output, starts.unsqueeze(-1)).squeeze(1).log_softmax(-1).max(-1)
        best = int((best_start + log_end).argmax())
        offsets = encoded["offset_mapping"][best]
        return texts[best][int(offsets[starts[best]][0]) : int(offsets[ends[best]][1])]


def handwritten_chain(index: Index, embedder: Embedder, k: int) -> Runnable[str, str]:
    """Question in, answer out: retrieve `k` passages from FAISS over `index`'s vectors, then read them."""
    passages = [index.store.passage(row) for row in range(len(index))]
    store = FlatStore(SentenceEmbeddings(embedder))
    # The index's own vectors: embedding the passages again would give the same ones and measure nothing.
    store.add_vectors(
        (Document(page_content=passage.text, metadata={"title": passage.title}) for passage in passages), index.vectors
    )
    retriever: Runnable[str, list[Document]] = store.as_retriever(search_kwargs={"k": k})
    return {"documents": retriever, "question": RunnablePassthrough()} | RunnableLambda(SpanReader())
