"""The engine of an evaluation: over an index of the data's passages, over a given index, or for reading mode."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ..retrievers.protocol import PassageRetriever
from ..sla.errors import DataError
from .asking import Asks
from .formats import Dataset
from .indexing import build
from .settings import EvalSettings, OnProgress


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
    over = _nothing_to_retrieve() if settings.reading else _searching(index_folder(dataset, settings, tell))
    from ..backends.reader.backend import EmbeddedReader
    from ..engine import Engine

    reader = EmbeddedReader()
    async with Engine.open(over, backend=reader) as own:
        yield own, reader.forget


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


def _searching(folder: Path) -> PassageRetriever:
    from ..retrievers.embedder import Embedder
    from ..retrievers.index import IndexRetriever

    # Every profile pays for embedding its questions, so none is held from the profile before.
    return IndexRetriever.open(folder, Embedder(cache_size=0))


def _nothing_to_retrieve() -> PassageRetriever:
    from ..retrievers.in_memory import MemoryRetriever

    return MemoryRetriever(())


def _nothing() -> None:
    pass
