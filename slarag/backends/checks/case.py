"""What every check gets, and how it fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from unittest import SkipTest

from ...sla.evidence import Passage
from ..protocol import AnswerKind, AnswerRequest, Backend, Capability, GenerateRequest, VerifyRequest


@dataclass(frozen=True, kw_only=True, slots=True)
class ConformanceSettings:
    """What the suite expects of one backend.

    priced: whether results carry `usd`; None: either, but always the same. answers_easy_questions: whether one plain
    sentence must give at least one candidate. tolerance_s: how far a call may overrun its deadline; generous, for busy
    machines. probability_tolerance: how far equal calls may differ, as batches of other sizes round differently.
    long_passage_characters: length of the very long passage. concurrency: simultaneous calls.
    """

    priced: bool | None = None
    answers_easy_questions: bool = True
    tolerance_s: float = 2.0
    probability_tolerance: float = 1e-3
    long_passage_characters: int = 20_000
    concurrency: int = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """A fresh backend under check; make_stalled builds one that never answers, where its author gave one."""

    backend: Backend
    settings: ConformanceSettings
    make_stalled: Callable[[], Backend | None]

    def needs(self, capability: Capability) -> None:
        """Skip the check for a backend that does not declare `capability`."""
        if capability not in self.backend.capabilities:
            raise SkipTest(f"{self.backend.name!r} does not declare {capability!r}")


LIGHTHOUSE = Passage(
    passage_id="lighthouse#0",
    document_id="lighthouse",
    title="Lighthouse of Alexandria",
    text="The lighthouse of Alexandria stood on the island of Pharos. It was built of limestone and granite.",
    start=1000,
)
CANAL = Passage(
    passage_id="canal#3",
    document_id="canal",
    text="The Corinth Canal was completed in 1893. It is 6.4 kilometres long and cannot take most modern ships.",
)
UNICODE = Passage(
    passage_id="unicode#0",
    document_id="unicode",
    title="Zoë 🌍",
    text="🌍🌍 Zoë's cafe\u0301 in 東京 opened in 1987…\u00a0It serves crème brûlée — “the best” — and שלום tea. 🧑‍🚀",
)
QUESTION = "On which island did the lighthouse of Alexandria stand?"


def answer_request(
    *passages: Passage,
    question: str = QUESTION,
    kind: AnswerKind = "span",
    n_best: int = 5,
    deadline: float | None = None,
) -> AnswerRequest:
    """A request over `passages`, the two plain ones by default."""
    return AnswerRequest(
        question=question, passages=passages or (LIGHTHOUSE, CANAL), kind=kind, n_best=n_best, deadline=deadline
    )


def verify_request(*, deadline: float | None = None) -> VerifyRequest:
    """A claim that the evidence supports."""
    return VerifyRequest(question=QUESTION, answer="Pharos", evidence=(LIGHTHOUSE,), deadline=deadline)


def generate_request(*, deadline: float | None = None) -> GenerateRequest:
    """A short prompt."""
    return GenerateRequest(prompt="Name an island.", max_tokens=16, deadline=deadline)


def deadline_in(seconds: float) -> float:
    """A deadline `seconds` from now."""
    return time.monotonic() + seconds


def require(holds: bool, message: str) -> None:
    """Fail the check with `message`; unlike `assert`, also under `python -O`."""
    if not holds:
        raise AssertionError(message)
