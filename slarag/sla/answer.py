"""Answers: what a question comes back as."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from .confidence import ConfidenceFeatures
from .decision import Decision
from .evidence import Citation, Passage
from .intents import INTENTS, IntentPrediction
from .report import ObjectiveResult

SCHEMA = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """The result of one question.

    text: the answer, "" when abstained. abstain_reason: why, "" when answered. best_text: the best candidate found,
    given or not, "" if there was none. confidence: calibrated probability that `best_text` is right. citations: exact
    spans of the sources. decisions: the plans that ran, in order. report: each objective of `profile`. usd: cost,
    None when a call had no price. device_seconds: of all model calls. reused_readings: passages that a model had read
    before, for an earlier question or step, and still held; they are in no cost, so a question that is repeated may
    cost 0. timings_ms: wall time by stage, `total` among them. passages: what the answer was read from. retrieved: what
    retrieval came to, best first, read or not, of the last round's first replica. features: what `confidence` was made
    from, None when there was no candidate.
    """

    question: str
    text: str
    abstained: bool
    abstain_reason: str
    best_text: str
    confidence: float
    citations: tuple[Citation, ...]
    intent: IntentPrediction
    decisions: tuple[Decision, ...]
    report: tuple[ObjectiveResult, ...]
    usd: float | None
    device_seconds: float
    timings_ms: dict[str, float] = field(default_factory=dict[str, float])
    passages: tuple[Passage, ...] = ()
    retrieved: tuple[Passage, ...] = ()
    profile: str = ""
    features: ConfidenceFeatures | None = None
    reused_readings: int = 0

    def __post_init__(self) -> None:
        if self.abstained and self.text:
            raise ValueError("an abstention gives no text; put the candidate in best_text")
        if not 0 <= self.confidence <= 1:
            raise ValueError(f"confidence must be in [0, 1], not {self.confidence!r}")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values, `schema` 1; what the decisions were chosen over is counted, not listed."""
        return {
            "schema": SCHEMA,
            "question": self.question,
            "text": self.text,
            "abstained": self.abstained,
            "abstain_reason": self.abstain_reason,
            "best_text": self.best_text,
            "confidence": self.confidence,
            "citations": [asdict(citation) for citation in self.citations],
            "intent": {
                "top": self.intent.top,
                "probabilities": {name: self.intent.probabilities[name] for name in INTENTS},
            },
            "decisions": [decision.to_dict(alternatives=False) for decision in self.decisions],
            "report": [result.to_dict() for result in self.report],
            "usd": self.usd,
            "device_seconds": self.device_seconds,
            "reused_readings": self.reused_readings,
            "timings_ms": dict(self.timings_ms),
            "passages": [asdict(passage) for passage in self.passages],
            "retrieved": [passage.passage_id for passage in self.retrieved],
            "profile": self.profile,
            "features": self.features.to_dict() if self.features else None,
        }
