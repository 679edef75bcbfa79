"""What every `PassageRetriever` must hold; run it on one of your own.

asyncio.run(check_retriever(lambda: MyRetriever(...), question="a question that finds several passages"))
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from ..sla.evidence import Passage
from ..sla.plan import RetrievalMethod
from .protocol import PassageRetriever

METHODS: tuple[RetrievalMethod, ...] = get_args(RetrievalMethod)
_MANY = 1_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is checked: a retriever, and a question for which it finds at least two passages by every method."""

    retriever: PassageRetriever
    question: str


class ConformanceError(AssertionError):
    """A retriever breaks a rule; the message names the rule and what was seen."""


Rule = Callable[[Subject], Awaitable[None]]


async def finds_passages(subject: Subject) -> None:
    """Every method finds passages with an id, a document and a text."""
    for method in METHODS:
        passages = await _retrieve(subject, method, 5)
        _hold(len(passages) >= 2, f"{method} finds {len(passages)} passages, at least 2 were promised")
        for passage in passages:
            _hold(bool(passage.passage_id and passage.document_id and passage.text), f"{passage!r} is incomplete")
            _hold(passage.start >= 0, f"{passage.passage_id!r} starts at {passage.start}")


async def gives_at_most_k(subject: Subject) -> None:
    """No more than `k` passages, no passage twice, and fewer are a prefix of more."""
    for method in METHODS:
        many = _ids(await _retrieve(subject, method, _MANY))
        _hold(len(set(many)) == len(many), f"{method} gives a passage twice")
        for k in (1, 2):
            few = _ids(await _retrieve(subject, method, k))
            _hold(few == many[:k], f"{method} with k={k} gives {few}, the first of more are {many[:k]}")


async def is_best_first(subject: Subject) -> None:
    """Scores do not rise, and equal scores are in the order of passage ids."""
    for method in METHODS:
        passages = await _retrieve(subject, method, _MANY)
        keys = [(-passage.score, passage.passage_id) for passage in passages]
        _hold(keys == sorted(keys), f"{method} is not ordered by falling score, then by id")


async def is_deterministic(subject: Subject) -> None:
    """The same question gives the same passages, also when asked concurrently."""
    for method in METHODS:
        first = await _retrieve(subject, method, 5)
        others = await asyncio.gather(*(_retrieve(subject, method, 5) for _ in range(8)))
        _hold(
            all(_ids(other) == _ids(first) for other in others), f"{method} gives different passages when asked again"
        )


async def refuses_no_passages(subject: Subject) -> None:
    """`k` below 1 raises ValueError."""
    for k in (0, -1):
        try:
            await _retrieve(subject, "hybrid", k)
        except ValueError:
            continue
        raise ConformanceError(f"k={k} was accepted")


async def keeps_sources(subject: Subject) -> None:
    """A passage is the slice of its source's text that begins at its start; an unknown document has no text."""
    for passage in await _retrieve(subject, "hybrid", 5):
        source = subject.retriever.source_text(passage.document_id)
        if source is not None:
            found = source[passage.start : passage.start + len(passage.text)]
            _hold(found == passage.text, f"{passage.passage_id!r} is not at {passage.start} of its source")
    _hold(subject.retriever.source_text("no such document") is None, "an unknown document has a text")


async def embeds_to_unit_vectors(subject: Subject) -> None:
    """Vectors are float32, of length 1, one a question, and using one changes no result; or there are none at all."""
    vectors = await subject.retriever.embed([subject.question, "another question"])
    if vectors is None:
        return
    _hold(vectors.dtype == np.float32 and vectors.ndim == 2 and len(vectors) == 2, f"vectors are {vectors.dtype}")
    _hold(bool(np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-3)), "vectors are not of length 1")
    for method in METHODS:
        given = await subject.retriever.retrieve(subject.question, method=method, k=3, vector=vectors[0])
        _hold(_ids(given) == _ids(await _retrieve(subject, method, 3)), f"{method} differs when the vector is given")


async def survives_cancellation(subject: Subject) -> None:
    """A cancelled call ends as cancelled, and the retriever serves on."""
    task = asyncio.ensure_future(_retrieve(subject, "hybrid", 3))
    await asyncio.sleep(0)
    task.cancel()
    ended = (await asyncio.gather(task, return_exceptions=True))[0]
    _hold(isinstance(ended, (list, asyncio.CancelledError)), f"a cancelled call ends with {ended!r}")
    _hold(len(await _retrieve(subject, "hybrid", 3)) > 0, "nothing is found after a cancelled call")


RULES: tuple[Rule, ...] = (
    finds_passages,
    gives_at_most_k,
    is_best_first,
    is_deterministic,
    refuses_no_passages,
    keeps_sources,
    embeds_to_unit_vectors,
    survives_cancellation,
)


async def check_retriever(
    make: Callable[[], PassageRetriever], *, question: str, rules: Sequence[Rule] = RULES
) -> None:
    """Check `rules` on what `make` returns, a new retriever for each; the first broken one raises `ConformanceError`.

    question: one for which at least two passages are found by every method.
    """
    for rule in rules:
        await rule(Subject(retriever=make(), question=question))


async def _retrieve(subject: Subject, method: RetrievalMethod, k: int) -> list[Passage]:
    return await subject.retriever.retrieve(subject.question, method=method, k=k)


def _ids(passages: Sequence[Passage]) -> list[str]:
    return [passage.passage_id for passage in passages]


def _hold(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ConformanceError(otherwise)
