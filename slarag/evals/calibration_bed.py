"""Where a calibration runs plans: an engine with the reader that ships, over the passages of the question files."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from .calibration_data import all_documents
from .calibration_settings import CalibrationSettings
from .formats import Dataset
from .indexing import build
from .settings import OnProgress
from .trials import TrialRun


@dataclass(frozen=True, slots=True)
class Bed:
    """What a calibration measures on: `run` runs plans; the others are of its reader."""

    run: TrialRun
    seconds_per_passage: Callable[[], Awaitable[float]]
    usd_per_device_second: float


@asynccontextmanager
async def opened(datasets: Sequence[Dataset], settings: CalibrationSettings, tell: OnProgress) -> AsyncGenerator[Bed]:
    """Index the data sets' passages and open the engine that trials run on, until the block ends."""
    from ..backends.reader.backend import DEFAULT_PRICE
    from ..engine import Engine
    from ..retrievers.embedder import Embedder
    from ..retrievers.index import IndexRetriever
    from .memo import MemoReader, MemoRetriever

    folder = build(all_documents(datasets), settings.folder, tell)
    folders = _own_indexes(datasets, folder, settings, tell)
    embedder, reader = Embedder(cache_size=0), MemoReader()
    retriever = IndexRetriever.open(folder, embedder)
    corpora = {name: IndexRetriever.open(own, embedder) for name, own in folders.items()}

    async def seconds_per_passage() -> float:
        return (await reader.load()).seconds_per_passage or 0.01

    try:
        await asyncio.gather(asyncio.to_thread(reader.open), asyncio.to_thread(embedder.encode, ["warm up"]))
        async with Engine.open(MemoRetriever(retriever, corpora), backend=reader) as engine:
            run = TrialRun(engine, settings.plans, reader.forget)
            yield Bed(run, seconds_per_passage, DEFAULT_PRICE.usd_per_device_second)
    finally:
        await reader.aclose()
        for index in (retriever, *corpora.values()):
            await asyncio.to_thread(index.close)


def _own_indexes(
    datasets: Sequence[Dataset], whole: Path, settings: CalibrationSettings, tell: OnProgress
) -> dict[str, Path]:
    """By file name an index over its documents alone, where further questions search; the `whole` one for one file."""
    if len(datasets) == 1:
        return {datasets[0].path.name: whole}
    own = settings.folder / "own"
    return {dataset.path.name: build(all_documents([dataset]), own / dataset.path.name, tell) for dataset in datasets}
