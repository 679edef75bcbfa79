"""The parts that an engine is put together from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Protocol, TypeAlias

import numpy as np

from .backends.protocol import Backend
from .retrievers.protocol import PassageRetriever
from .sla.calibration import Calibration
from .sla.conditions import Conditions
from .sla.errors import RunError, SlaragError
from .sla.intents import INTENTS, IntentPrediction
from .sla.mapper import Mapper

LOAD_LIMIT_S = 0.1
"""How long a backend may take to tell its load before the question goes on without it."""
LOAD_KEPT_S = 30.0
"""How long the last known load stands for one that a backend does not tell."""
Closer: TypeAlias = Callable[[], Awaitable[None]]
UNKNOWN_INTENT = IntentPrediction({intent: 1 / len(INTENTS) for intent in INTENTS})


class Classifier(Protocol):
    """What tells the intent of a question."""

    def predict(self, question: str, vector: np.ndarray | None) -> IntentPrediction:
        """The intents' probabilities; `vector` is the question's by the retriever's embedder, float32 [dim], if known.

        A classifier that names an embedder by its fingerprint in an attribute `embedder` gets that one's vectors only.
        """
        ...


@dataclass(kw_only=True)
class Parts:
    """Retriever, models, classifier and mapper. closers: end what the engine opened itself, and nothing else."""

    retriever: PassageRetriever
    backends: tuple[Backend, ...]
    classifier: Classifier
    mapper: Mapper
    calibration: Calibration
    closers: list[Closer]
    _known: tuple[float, Conditions] | None = field(default=None, init=False)

    @cached_property
    def vectors_are_classified(self) -> bool:
        """Whether the retriever's vectors mean anything to the classifier: they are of the embedder it names."""
        wanted = getattr(self.classifier, "embedder", None)
        return wanted is None or wanted == getattr(self.retriever, "embedder_fingerprint", None)

    async def vector(self, question: str) -> np.ndarray | None:
        """The question's vector for dense retrieval, float32 [dim]; None if the retriever has no embedder.

        Whatever the embedder raises becomes a `RunError`.
        """
        with _failures_of("the retriever's embedder", "check the retriever and what embeds for it"):
            vectors = await self.retriever.embed([question])
            return None if vectors is None else vectors[0]

    def classify(self, question: str, vector: np.ndarray | None) -> IntentPrediction:
        """The question's intent, by its wording alone when `vector` is not of the classifier's embedder.

        Whatever the classifier raises becomes a `RunError`.
        """
        with _failures_of("the intent classifier", "check the classifier that the engine was given"):
            return self.classifier.predict(question, vector if self.vectors_are_classified else None)

    async def conditions(self) -> Conditions:
        """The state of the first backend.

        If it cannot say within `LOAD_LIMIT_S`, which is when it is busy, its last known state while that is not older
        than `LOAD_KEPT_S`, and then that of an idle one.
        """
        try:
            async with asyncio.timeout(LOAD_LIMIT_S):
                load = await self.backends[0].load()
            now = Conditions(
                waiting=load.waiting,
                running=load.running,
                devices=max(1, load.devices),  # a pool that sleeps wakes one for the question
                seconds_per_passage=load.seconds_per_passage or None,
            )
        except Exception:  # noqa: BLE001 - a backend that cannot tell its load can still answer
            return self._last_known()
        self._known = time.monotonic(), now
        return now

    def _last_known(self) -> Conditions:
        if self._known is None or time.monotonic() - self._known[0] > LOAD_KEPT_S:
            return Conditions()
        return self._known[1]

    async def aclose(self) -> None:
        """Close what the engine opened; twice is fine."""
        await close_all(self.closers)


async def close_all(closers: list[Closer]) -> None:
    """Call and take out all `closers`, the last first, also when one of them fails; raises the last failure."""
    async with AsyncExitStack() as stack:
        while closers:
            stack.push_async_callback(closers.pop(0))


@contextmanager
def _failures_of(what: str, remedy: str) -> Generator[None]:
    try:
        yield
    except SlaragError:
        raise
    except Exception as error:  # what fails behind a part that was given is not known here
        raise RunError(f"{what} failed: {type(error).__name__}: {str(error)[:200]}", remedy=remedy) from error
