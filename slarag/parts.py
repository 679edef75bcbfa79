"""The parts that an engine is put together from."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from .backends.protocol import Backend
from .retrievers.protocol import PassageRetriever
from .sla.calibration import Calibration
from .sla.conditions import Conditions
from .sla.errors import ConfigurationError, RunError, SlaragError
from .sla.intents import INTENTS, IntentPrediction
from .sla.mapper import Mapper
from .sla.plan import default_plan_space

LOAD_LIMIT_S = 0.1
"""How long a backend may take to tell its load before the question goes on without it."""
QUESTION_DIM = 384
UNKNOWN_INTENT = IntentPrediction({intent: 1 / len(INTENTS) for intent in INTENTS})


class Classifier(Protocol):
    """What tells the intent of a question."""

    def predict(self, question: str, vector: np.ndarray | None) -> IntentPrediction:
        """The intents' probabilities; `vector` is the question's all-MiniLM-L6-v2 vector, float32 [384], if known."""
        ...


@dataclass(kw_only=True)
class Parts:
    """Retriever, models, classifier and mapper. closers: end what the engine opened itself, and nothing else."""

    retriever: PassageRetriever
    backends: tuple[Backend, ...]
    classifier: Classifier
    mapper: Mapper
    calibration: Calibration
    closers: list[Callable[[], Awaitable[None]]]

    async def vector(self, question: str) -> np.ndarray | None:
        """The question's vector for dense retrieval, float32 [dim]; None if the retriever has no embedder.

        Whatever the embedder raises becomes a `RunError`.
        """
        with _failures_of("the retriever's embedder", "check the retriever and what embeds for it"):
            vectors = await self.retriever.embed([question])
            return None if vectors is None else vectors[0]

    def classify(self, question: str, vector: np.ndarray | None) -> IntentPrediction:
        """The question's intent, by its wording alone when `vector` is not one of all-MiniLM-L6-v2's.

        Whatever the classifier raises becomes a `RunError`.
        """
        known = vector is not None and vector.shape == (QUESTION_DIM,)
        with _failures_of("the intent classifier", "check the classifier that the engine was given"):
            return self.classifier.predict(question, vector if known else None)

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


@contextmanager
def _failures_of(what: str, remedy: str) -> Generator[None]:
    try:
        yield
    except SlaragError:
        raise
    except Exception as error:  # what fails behind a part that was given is not known here
        raise RunError(f"{what} failed: {type(error).__name__}: {str(error)[:200]}", remedy=remedy) from error


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
