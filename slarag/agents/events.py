"""Events of a query, in the order in which they can occur: intent, decision, passages, replica, verdict, answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..sla.evidence import Passage
from ..sla.intents import IntentPrediction
from ..sla.plan import RetrievalMethod
from .state import Outcome, Reading, Verdict

if TYPE_CHECKING:
    from ..sla.answer import Answer
    from ..sla.decision import Decision


@dataclass(frozen=True, kw_only=True, slots=True)
class IntentEvent:
    """The question has been classified."""

    name: ClassVar[str] = "intent"
    intent: IntentPrediction

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"event": self.name, "intent": self.intent.top, "probabilities": dict(self.intent.probabilities)}


@dataclass(frozen=True, kw_only=True, slots=True)
class DecisionEvent:
    """The mapper has chosen a plan; a second one is an escalation."""

    name: ClassVar[str] = "decision"
    decision: Decision

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"event": self.name, "decision": self.decision.to_dict()}


@dataclass(frozen=True, kw_only=True, slots=True)
class PassagesEvent:
    """A replica has passages, from a retrieval hop (1-based) or, as hop 0, from its reranker."""

    name: ClassVar[str] = "passages"
    replica: int
    hop: int
    query: str
    method: RetrievalMethod
    passages: tuple[Passage, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values; passages by id, title and score."""
        return {
            "event": self.name,
            "replica": self.replica,
            "hop": self.hop,
            "query": self.query,
            "method": self.method,
            "passages": [{"passage_id": p.passage_id, "title": p.title, "score": p.score} for p in self.passages],
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaEvent:
    """A replica has read: its best answer, or why there is none."""

    name: ClassVar[str] = "replica"
    replica: int
    backend: str
    method: RetrievalMethod
    num_passages: int
    text: str
    probability: float
    seconds: float
    error: str
    called_off: bool

    @classmethod
    def of(cls, reading: Reading) -> ReplicaEvent:
        """The event of a reading."""
        best = reading.best
        return cls(
            replica=reading.replica,
            backend=reading.backend,
            method=reading.retrieval,
            num_passages=len(reading.passages),
            text=best.text if best else "",
            probability=best.probability if best else 0.0,
            seconds=reading.seconds,
            error=reading.error.message if reading.error else "",
            called_off=reading.result is None and reading.error is None,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "event": self.name,
            "replica": self.replica,
            "backend": self.backend,
            "method": self.method,
            "num_passages": self.num_passages,
            "text": self.text,
            "probability": self.probability,
            "seconds": self.seconds,
            "error": self.error,
            "called_off": self.called_off,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class VerdictEvent:
    """The verifier has ruled."""

    name: ClassVar[str] = "verdict"
    outcome: Outcome
    text: str
    confidence: float
    reason: str

    @classmethod
    def of(cls, verdict: Verdict) -> VerdictEvent:
        """The event of a verdict."""
        return cls(outcome=verdict.outcome, text=verdict.text, confidence=verdict.confidence, reason=verdict.reason)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "event": self.name,
            "outcome": self.outcome,
            "text": self.text,
            "confidence": self.confidence,
            "reason": self.reason,
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class AnswerEvent:
    """The query has ended; always the last event."""

    name: ClassVar[str] = "answer"
    answer: Answer

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"event": self.name, "answer": self.answer.to_dict()}


Event = IntentEvent | DecisionEvent | PassagesEvent | ReplicaEvent | VerdictEvent | AnswerEvent
