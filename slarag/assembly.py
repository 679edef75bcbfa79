"""Puts an engine's parts together, and refuses what cannot be one."""

from __future__ import annotations

import asyncio
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeGuard, cast

from .backends.protocol import AnswerRequest, Backend
from .loop import run_apart
from .parts import Classifier, Closer, Parts, close_all
from .retrievers.protocol import PassageRetriever
from .sla.calibration import Calibration
from .sla.errors import ConfigurationError
from .sla.evidence import Passage
from .sla.mapper import Mapper
from .sla.plan import Plan, default_plan_space, jury_plans

if TYPE_CHECKING:
    from langchain_core.retrievers import BaseRetriever

    from .backends.pool_backend import PoolBackend

POOL_VARIABLE = "SLARAG_POOL_URL"
"""Names the running pool that engines read on where neither a backend nor a pool is given."""
WARM_UP = Passage(
    passage_id="warm-up", document_id="warm-up", text="A first reading is slow, so the first question does not get it."
)


def open_parts(
    index: str | Path | PassageRetriever | BaseRetriever,
    *,
    backend: Backend | Sequence[Backend] | None,
    pool: str | int | None = None,
    calibration: Path | Calibration | None,
    classifier: Classifier | None,
    mapper: Mapper | None,
) -> Parts:
    """Open the index and load the models, blocking. Raises `ConfigurationError` when something is missing or wrong."""
    closers: list[Closer] = []
    measured = calibration if isinstance(calibration, Calibration) else Calibration.load(calibration)
    try:
        retriever, backends = _retriever(index, closers), _backends(backend, pool, closers)
        parts = Parts(
            retriever=retriever,
            backends=backends,
            classifier=classifier or _shipped_classifier(),
            mapper=mapper or Mapper(_plan_space(backends), measured),
            calibration=measured,
            closers=closers,
        )
        _tell_of_another_embedder(parts)
        return parts
    except BaseException:
        run_apart(close_all(closers))
        raise


def _plan_space(backends: Sequence[Backend]) -> tuple[Plan, ...]:
    """The plans that these backends can run: a support check needs a model that judges claims, a jury models that judge
    one another's answers, a compute budget models that keep to it.
    """
    judges = sum("verify" in backend.capabilities for backend in backends)
    spares = all(getattr(backend, "reads_within_budget", False) for backend in backends)
    return tuple(
        plan
        for plan in (*default_plan_space(), *jury_plans(judges))
        if (spares or plan.compute_budget == 1) and (judges or plan.verification != "support")
    )


def _retriever(given: str | Path | PassageRetriever | BaseRetriever, closers: list[Closer]) -> PassageRetriever:
    if isinstance(given, (str, Path)):
        return _opened(Path(given), closers)
    if _is_langchain(given):
        from .retrievers.foreign import ForeignRetriever

        return ForeignRetriever(given)
    retriever = cast(PassageRetriever, given)
    missing = [name for name in ("embed", "retrieve", "source_text") if not callable(getattr(retriever, name, None))]
    if missing:
        raise ConfigurationError(
            f"{_named(given)} is not a retriever: it has no {' and no '.join(missing)}",
            remedy="give the folder of an index, a PassageRetriever or a LangChain BaseRetriever",
        )
    return retriever


def _tell_of_another_embedder(parts: Parts) -> None:
    """Warn that intents go by the wording alone, where the retriever's embedder is known to be another one."""
    used = getattr(parts.retriever, "embedder_fingerprint", None)
    if used is not None and not parts.vectors_are_classified:
        warnings.warn(
            f"the intent classifier was trained with another embedder than the retriever's ({used[:8]}), so intents go "
            "by the questions' wording alone; give Engine.open a classifier that was trained with this one",
            stacklevel=4,
        )


def _is_langchain(given: object) -> TypeGuard[BaseRetriever]:
    """Whether it is a LangChain retriever; while LangChain is not loaded there is none."""
    loaded = sys.modules.get("langchain_core.retrievers")
    return loaded is not None and isinstance(given, loaded.BaseRetriever)


def _opened(folder: Path, closers: list[Closer]) -> PassageRetriever:
    from .retrievers.index import IndexRetriever

    retriever = IndexRetriever.open(folder)
    closers.append(lambda: asyncio.to_thread(retriever.close))
    retriever.embedder.encode(["loads the model now rather than within the first question's deadline"])
    return retriever


def _backends(
    given: Backend | Sequence[Backend] | None, pool: str | int | None, closers: list[Closer]
) -> tuple[Backend, ...]:
    if given is None and pool is None:
        pool = os.environ.get(POOL_VARIABLE) or None
    if pool is not None:
        if given is not None:
            raise ConfigurationError(
                "an engine takes a backend or a pool, not both", remedy="give PoolBackend(url) among the backends"
            )
        return (_pool(pool, closers),)
    if given is None:
        return (_reader(closers),)
    backends = tuple(given) if isinstance(given, Sequence) else (given,)
    for backend in backends:
        _check(backend)
    names = [backend.name for backend in backends]
    if not backends or len(set(names)) < len(names):
        raise ConfigurationError(
            f"an engine needs one or more backends of different names, not {names}", remedy="name each backend"
        )
    return backends


def _check(backend: object) -> None:
    if not isinstance(backend, Backend):
        raise ConfigurationError(
            f"{_named(backend)} is not a backend",
            remedy="give a Backend, such as ChatBackend(model) around a LangChain chat model",
        )
    if "answer" not in backend.capabilities:
        raise ConfigurationError(
            f"backend {backend.name!r} cannot answer; it does {sorted(backend.capabilities)}",
            remedy="give a backend with the capability 'answer', or put this one into a RouterBackend with one",
        )


def _reader(closers: list[Closer]) -> Backend:
    from .backends.reader.backend import EmbeddedReader

    reader = EmbeddedReader()
    closers.append(reader.aclose)
    reader.open()
    run_apart(reader.read(WARM_UP.text, [WARM_UP], None))
    reader.forget()
    return reader


def _pool(pool: str | int, closers: list[Closer]) -> Backend:
    from .backends.pool_backend import PoolBackend

    url = pool if isinstance(pool, str) else _started_pool(pool, closers)
    backend = PoolBackend(url)
    closers.append(backend.aclose)
    run_apart(_meet(backend, warm_ups=0 if isinstance(pool, str) else pool))
    return backend


def _started_pool(devices: int, closers: list[Closer]) -> str:
    from .backends.pool_process import PoolProcess

    if devices < 1:
        raise ConfigurationError(f"a pool of {devices} devices reads nothing", remedy="ask for one or more")
    process = PoolProcess.start(devices=devices)
    closers.append(lambda: asyncio.to_thread(process.close))
    return process.url


async def _meet(backend: PoolBackend, warm_ups: int) -> None:
    """See that the pool is one, and let the devices of a new one read for the first time."""
    try:
        await backend.connect()
        questions = (AnswerRequest(question=f"{WARM_UP.text} {n}", passages=(WARM_UP,)) for n in range(warm_ups))
        await asyncio.gather(*map(backend.answer, questions))
    finally:
        await backend.aclose()


def _shipped_classifier() -> Classifier:
    from .sla.classifier import IntentClassifier

    return IntentClassifier.load()


def _named(thing: object) -> str:
    return f"a {type(thing).__module__}.{type(thing).__qualname__}"
