"""The typed state that flows through a query's graph.

Replicas write in parallel, so what they write is keyed by replica and merged; a key is written by one replica only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict, TypeVar

from ..backends.protocol import AnswerResult, Candidate
from ..sla.confidence import ConfidenceFeatures
from ..sla.errors import SlaragError
from ..sla.evidence import Citation, Passage
from ..sla.plan import RetrievalMethod

Item = TypeVar("Item")
Outcome = Literal["accept", "escalate", "abstain"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What one replica made of the question.

    result: None when it failed (then `error` says why) or was called off because it could no longer matter.
    seconds: of the model's call. finished_at: seconds on the monotonic clock.
    """

    replica: int
    retrieval: RetrievalMethod
    backend: str
    passages: tuple[Passage, ...]
    result: AnswerResult | None
    error: SlaragError | None = None
    seconds: float = 0.0
    finished_at: float = 0.0

    @property
    def best(self) -> Candidate | None:
        """Its likeliest answer; None when it has none."""
        return self.result.candidates[0] if self.result and self.result.candidates else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Contender:
    """An answer in the arbiter's ranking. weight: what the arbitration ranks by, comparable within one settlement."""

    candidate: Candidate
    reading: Reading
    weight: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Settlement:
    """The arbiter's ruling: distinct answers, best first, and the share of readings that agree with the best."""

    ranking: tuple[Contender, ...]
    agreement: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The verifier's ruling on the best answer.

    text: the answer, "" if there is none; reason: why it was not accepted, "" if it was. confidence: calibrated
    probability that `text` is right. passages: what the answer was read from.
    """

    outcome: Outcome
    text: str
    confidence: float
    citations: tuple[Citation, ...]
    passages: tuple[Passage, ...]
    features: ConfidenceFeatures | None
    reason: str = ""


def merge(old: Mapping[int, Item], new: Mapping[int, Item]) -> dict[int, Item]:
    """Reducer of parallel writers: the union; `new` wins."""
    return {**old, **new}


class QueryState(TypedDict, total=False):
    """The graph's state. `passages` are what a replica's next agent works on."""

    question: str
    passages: Annotated[dict[int, tuple[Passage, ...]], merge]
    readings: Annotated[dict[int, Reading], merge]
    settlement: Settlement
    verdict: Verdict
