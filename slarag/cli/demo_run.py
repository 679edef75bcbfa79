"""Asking the demo's questions and keeping what came; no rendering."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from ..demo import DemoQuestion
from .streams import Advance

if TYPE_CHECKING:
    from ..engine import Engine
    from ..sla.answer import Answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """One question under one profile. wall_ms: as the caller saw it."""

    question: DemoQuestion
    profile: str
    answer: Answer
    wall_ms: float

    @property
    def f1(self) -> float:
        """Token F1 against the shipped answers; abstaining is right where there is none, and 0 elsewhere."""
        from ..sla.matching import best_f1

        if self.answer.abstained or not self.question.answers:
            return float(self.answer.abstained and not self.question.answers)
        return best_f1(self.answer.text, list(self.question.answers))

    def to_dict(self) -> dict[str, object]:
        """Plain JSON values."""
        return {
            "expected": list(self.question.answers),
            "f1": self.f1,
            "wall_ms": self.wall_ms,
            "answer": self.answer.to_dict(),
        }


def ask_all(
    engine: Engine, questions: Sequence[DemoQuestion], profiles: Sequence[str], advance: Advance
) -> list[Asked]:
    """Every question under every profile, one at a time so that each latency is its own."""
    engine.ask(questions[0].question, profiles[0])  # loads the models, which no measured question should pay for
    asked: list[Asked] = []
    for question in questions:
        for profile in profiles:
            started = perf_counter()
            answer = engine.ask(question.question, profile)
            wall_ms = (perf_counter() - started) * 1000
            asked.append(Asked(question=question, profile=profile, answer=answer, wall_ms=wall_ms))
            advance(len(asked), len(questions) * len(profiles), "asking")
    return asked
