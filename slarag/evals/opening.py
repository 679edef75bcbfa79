"""The engine of an evaluation: over an index of the data's passages, over a given index, or for reading mode."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..retrievers.protocol import PassageRetriever
from ..sla.errors import DataError
from .asking import Asks
from .formats import Dataset
from .indexing import build
from .settings import EvalSettings, OnProgress

if TYPE_CHECKING:
    from ..retrievers.embedder import Embedder


@asynccontextmanager
async def opened(
    engine: Asks | None, dataset: Dataset, settings: EvalSettings, tell: OnProgress
) -> AsyncGenerator[tuple[Asks, Callable[[], None]]]:
    """The engine, and a function that makes its reader forget what it has read.

    A given engine is used as it is and stays open.
    """
    if engine is not None:
        yield engine, _nothing
        return
    over = None if settings.reading else index_folder(dataset, settings, tell)
    from ..backends.reader.backend import EmbeddedReader
    from ..engine import Engine
    from ..retrievers.embedder import Embedder

    # Every profile pays for embedding its questions, so none is held from the profile before.
    embedder, reader = Embedder(cache_size=0), EmbeddedReader()
    try:
        # Models that load within the first question's deadline would leave it no time.
        await asyncio.gather(asyncio.to_thread(reader.open), asyncio.to_thread(embedder.encode, ["warm up"]))
        async with Engine.open(_retriever(over, embedder), backend=reader) as own:
            yield own, reader.forget
    finally:
        await reader.aclose()
        await asyncio.to_thread(embedder.close)


def index_folder(dataset: Dataset, settings: EvalSettings, tell: OnProgress) -> Path:
    """The index to retrieve from: the one given, or one over all documents of the data, built once in `out`."""
    if settings.index is not None:
        return settings.index
    if next(dataset.documents(), None) is None:
        raise DataError(
            f"{dataset.path} brings no passages to retrieve from",
            remedy="give an index with --index, or documents with --corpus",
        )
    return build(dataset.documents(), settings.out, tell)


def _retriever(folder: Path | None, embedder: Embedder) -> PassageRetriever:
    from ..retrievers.in_memory import MemoryRetriever
    from ..retrievers.index import IndexRetriever

    return MemoryRetriever((), embedder=embedder) if folder is None else IndexRetriever.open(folder, embedder)


def _nothing() -> None:
    pass
