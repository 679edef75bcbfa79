"""The parts that an engine is put together from."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from .backends.protocol import Backend
from .retrievers.protocol import PassageRetriever
from .sla.calibration import Calibration
from .sla.conditions import Conditions
from .sla.errors import ConfigurationError
from .sla.intents import INTENTS, IntentPrediction
from .sla.mapper import Mapper
from .sla.plan import default_plan_space

if TYPE_CHECKING:
    from .retrievers.embedder import Embedder

LOAD_LIMIT_S = 0.1
"""How long a backend may take to tell its load before the question goes on without it."""
QUESTION_DIM = 384
UNKNOWN_INTENT = IntentPrediction({intent: 1 / len(INTENTS) for intent in INTENTS})


class Classifier(Protocol):
    """What tells the intent of a question."""

    def predict(self, question: str, vector: np.ndarray) -> IntentPrediction:
        """The intents' probabilities; `vector` is the question's all-MiniLM-L6-v2 embedding, float32 [384]."""
        ...


@dataclass(kw_only=True)
class Parts:
    """Retriever, models, classifier and mapper. closers: end what the engine opened itself, and nothing else."""

    retriever: PassageRetriever
    backends: tuple[Backend, ...]
    classifier: Classifier | None
    mapper: Mapper
    calibration: Calibration
    closers: list[Callable[[], Awaitable[None]]]
    _embedder: Embedder | None = None

    async def vector(self, question: str) -> np.ndarray | None:
        """The question's vector for dense retrieval, float32 [dim]; None if the retriever has no embedder."""
        vectors = await self.retriever.embed([question])
        return None if vectors is None else vectors[0]

    async def classify(self, question: str, vector: np.ndarray | None) -> IntentPrediction:
        """The question's intent; every intent is equally likely without a classifier."""
        if self.classifier is None:
            return UNKNOWN_INTENT
        if vector is None or vector.shape != (QUESTION_DIM,):
            vector = (await self._own_embedder().embed([question]))[0]
        return self.classifier.predict(question, np.asarray(vector))

    async def conditions(self) -> Conditions:
        """The state of the first backend; what is true of an idle one if it cannot say within `LOAD_LIMIT_S`."""
        try:
            async with asyncio.timeout(LOAD_LIMIT_S):
                load = await self.backends[0].load()
            return Conditions(
                waiting=load.waiting,
                running=load.running,
                devices=load.devices,
                seconds_per_passage=load.seconds_per_passage,
            )
        except Exception:  # noqa: BLE001 - a backend that cannot tell its load can still answer
            return Conditions()

    async def aclose(self) -> None:
        """Close what the engine opened; twice is fine."""
        while self.closers:
            await self.closers.pop()()

    def _own_embedder(self) -> Embedder:
        """For retrievers without an embedder: the classifier needs the vector all the same."""
        if self._embedder is None:
            from .retrievers.embedder import Embedder

            embedder = self._embedder = Embedder()
            self.closers.append(lambda: asyncio.to_thread(embedder.close))
        return self._embedder


def open_parts(
    index: str | Path | PassageRetriever,
    *,
    backend: Backend | Sequence[Backend] | None,
    calibration: Path | Calibration | None,
    classifier: Classifier | None,
    mapper: Mapper | None,
) -> Parts:
    """Open the index and load the models, blocking. Raises `ConfigurationError` when something is missing."""
    closers: list[Callable[[], Awaitable[None]]] = []
    measured = calibration if isinstance(calibration, Calibration) else Calibration.load(calibration)
    return Parts(
        retriever=_retriever(index, closers) if isinstance(index, (str, Path)) else index,
        backends=_backends(backend, closers),
        classifier=classifier or _shipped_classifier(),
        mapper=mapper or Mapper(default_plan_space(), measured),
        calibration=measured,
        closers=closers,
    )


def _retriever(folder: str | Path, closers: list[Callable[[], Awaitable[None]]]) -> PassageRetriever:
    from .retrievers.index import IndexRetriever

    retriever = IndexRetriever.open(Path(folder))
    retriever.embedder.encode(["loads the model now rather than within the first question's deadline"])
    closers.append(lambda: asyncio.to_thread(retriever.close))
    return retriever


def _backends(
    given: Backend | Sequence[Backend] | None, closers: list[Callable[[], Awaitable[None]]]
) -> tuple[Backend, ...]:
    if given is None:
        from .backends.reader.backend import EmbeddedReader

        reader = EmbeddedReader()
        reader.open()
        closers.append(reader.aclose)
        return (reader,)
    backends = (given,) if isinstance(given, Backend) else tuple(given)
    names = [backend.name for backend in backends]
    if not backends or len(set(names)) < len(names):
        raise ConfigurationError(
            f"an engine needs one or more backends of different names, not {names}", remedy="name each backend"
        )
    return backends


def _shipped_classifier() -> Classifier:
    from .sla.classifier import IntentClassifier

    return IntentClassifier.load()
