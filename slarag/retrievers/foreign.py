"""Any LangChain `BaseRetriever` as a retriever of the agents."""

from __future__ import annotations

import asyncio
import contextvars
import hashlib
import threading
from collections import OrderedDict
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ..sla.errors import RunError, SlaragError
from ..sla.evidence import Passage
from ..sla.plan import RetrievalMethod
from .daemon_threads import DaemonThreads
from .embedder import Embedder
from .ranking import Scores

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever

_ID_KEYS = ("passage_id", "chunk_id", "id", "_id")
_DOCUMENT_KEYS = ("document_id", "doc_id", "source")


class ForeignRetriever:
    """Asks `retriever`, which keeps its own method and order; scores are 1 / place.

    A Document whose metadata says where it starts (`start_index`) and in which source (`document_id`, `doc_id` or
    `source`) is a passage of that source, whose text stays unknown here. Any other one is its own source.
    embedder: only for the vectors of questions, which the intent classifier reads. remembered: texts kept for checking
    quotes, the most recent ones.
    """

    def __init__(self, retriever: BaseRetriever, *, embedder: Embedder | None = None, remembered: int = 10_000) -> None:
        self._retriever = retriever
        self._embedder = embedder
        self._remembered = remembered
        self._sources: OrderedDict[str, str] = OrderedDict()
        self._lock = threading.Lock()
        self._threads = DaemonThreads() if _is_blocking(retriever) else None

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
        """The retriever's first `k` documents in its order; `method` and `vector` are its own affair.

        A retriever without an async form runs in a thread, which outlives the question if it hangs but keeps nobody
        waiting. Raises `RunError` when it fails.
        """
        if k < 1:
            raise ValueError(f"k {k!r} is not at least 1")
        passages = _distinct(await self._ask(question, k))[:k]
        placed = [_placed(passage, place) for place, passage in enumerate(passages, start=1)]
        self._remember(placed)
        return placed

    def source_text(self, document_id: str) -> str | None:
        """The text of a document that is its own source and was retrieved; None for pieces of other sources."""
        with self._lock:
            return self._sources.get(document_id)

    async def _ask(self, question: str, k: int) -> list[Passage]:
        try:
            return [_passage(document) for document in await self._invoke(question, k)]
        except SlaragError:
            raise
        except Exception as error:  # what fails behind the adapter is not known here
            name = type(self._retriever).__name__
            raise RunError(
                f"the retriever {name} failed: {type(error).__name__}: {_first_line(error)}",
                remedy="check that its service is up",
            ) from error

    async def _invoke(self, question: str, k: int) -> list[Document]:
        settings = _how_many(self._retriever, k)
        if self._threads is None:
            return await self._retriever.ainvoke(question, **settings)
        context = contextvars.copy_context()
        return await asyncio.get_running_loop().run_in_executor(
            self._threads, lambda: context.run(self._retriever.invoke, question, **settings)
        )

    def _remember(self, passages: list[Passage]) -> None:
        with self._lock:
            for passage in passages:
                if passage.document_id == passage.passage_id:
                    self._sources[passage.document_id] = passage.text
                    self._sources.move_to_end(passage.document_id)
            while len(self._sources) > self._remembered:
                self._sources.popitem(last=False)


def _how_many(retriever: BaseRetriever, k: int) -> dict[str, Any]:
    from langchain_core.vectorstores import VectorStoreRetriever

    return {"k": k} if isinstance(retriever, VectorStoreRetriever) else {}


def _is_blocking(retriever: BaseRetriever) -> bool:
    """Whether the class leaves LangChain's async form, which runs the blocking one in the loop's executor."""
    from langchain_core.retrievers import BaseRetriever

    own = type(retriever)._aget_relevant_documents  # pyright: ignore[reportPrivateUsage]
    return own is BaseRetriever._aget_relevant_documents  # pyright: ignore[reportPrivateUsage]


def _passage(document: Document) -> Passage:
    metadata = document.metadata
    text = document.page_content
    named = document.id or _first(metadata, _ID_KEYS)
    title = str(metadata.get("title") or "")
    start, source = metadata.get("start_index"), _first(metadata, _DOCUMENT_KEYS)
    if isinstance(start, int) and not isinstance(start, bool) and start >= 0 and source:
        page = metadata.get("page")
        document_id = source if page is None else f"{source}#page={page}"  # where it starts is counted in its page
        passage_id = f"{named or document_id}#{start}@{_digest(text)}"
        return Passage(passage_id=passage_id, document_id=document_id, text=text, title=title, start=start)
    # Two documents of one name would be one source with two texts, so what they say is part of the id.
    passage_id = f"{named or source or 'document'}@{_digest(text)}"
    return Passage(passage_id=passage_id, document_id=passage_id, text=text, title=title)


def _placed(passage: Passage, place: int) -> Passage:
    return replace(passage, score=1.0 / place)


def _distinct(passages: list[Passage]) -> list[Passage]:
    first: dict[str, Passage] = {}
    for passage in passages:
        if passage.text:
            first.setdefault(passage.passage_id, passage)
    return list(first.values())


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(errors="replace"), digest_size=6).hexdigest()


def _first(metadata: dict[str, Any], keys: tuple[str, ...]) -> str:
    return next((str(metadata[key]) for key in keys if metadata.get(key) not in (None, "")), "")


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else "no message"
