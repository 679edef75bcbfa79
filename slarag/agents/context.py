"""The run context: what the agents of one query share, and the values of its plan that do not change the graph."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from ..backends.protocol import AnswerKind
from ..retrievers.protocol import PassageRetriever
from ..sla.budget import Budget
from ..sla.confidence import ConfidenceModel
from ..sla.evidence import Passage
from ..sla.intents import IntentPrediction
from ..sla.plan import Plan, RetrievalMethod
from ..sla.profile import Profile
from .events import Event, ReplicaEvent
from .models import Models
from .race import Race
from .state import Reading


@dataclass(kw_only=True, slots=True)
class RunContext:
    """One round of one query.

    given: whether the caller gave the passages. vector: the question's embedding, float32 [dim], None without an
    embedder. escalations: rounds that may still follow. emit: takes the events. found: all that a replica's retrieval
    came to, best first, read or not. provisional: what a replica's reranker read, until its reasoner has. timings_ms:
    wall time by stage, of the slowest replica.
    """

    question: str
    plan: Plan
    profile: Profile
    kind: AnswerKind
    intent: IntentPrediction
    given: bool
    vector: np.ndarray | None
    budget: Budget
    retriever: PassageRetriever
    models: Models
    confidence: ConfidenceModel
    race: Race
    escalations: int
    emit: Callable[[Event], None]
    found: dict[int, tuple[Passage, ...]] = field(default_factory=dict[int, tuple[Passage, ...]])
    provisional: dict[int, Reading] = field(default_factory=dict[int, Reading])
    timings_ms: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def compute_floor(self) -> float:
        """How low a server may put the plan's compute budget."""
        return min(self.plan.compute_budget, self.profile.compute_floor)

    def enter(self, reading: Reading) -> None:
        """Enter a replica's reading into the race and tell it."""
        self.race.enter(reading)
        self.emit(ReplicaEvent.of(reading))

    def readings_so_far(self) -> list[Reading]:
        """The readings with an answer, by replica; of replicas that have none, the provisional ones."""
        known = {**self.provisional, **{reading.replica: reading for reading in self.race.readings}}
        return [known[replica] for replica in sorted(known) if known[replica].best is not None]

    def method(self, replica: int) -> RetrievalMethod:
        """How the replica retrieves: as the plan says, but what the caller gave is ranked by its words alone.

        Embedding it within the question's time would cost more than its order is worth, and hold up other questions.
        """
        return "lexical" if self.given else self.plan.replica(replica).retrieval

    def clock(self, stage: str, since: float) -> None:
        """Note that `stage` took from `since` (seconds, monotonic) until now."""
        took = (time.monotonic() - since) * 1000
        self.timings_ms[stage] = max(took, self.timings_ms.get(stage, 0.0))
