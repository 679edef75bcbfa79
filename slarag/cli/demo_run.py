"""Asking the demo's questions and keeping what came; no rendering."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from ..demo import DemoQuestion
from ..sla.plan import Plan

if TYPE_CHECKING:
    from ..engine import Engine
    from ..sla.answer import Answer


WARM_UP = "How far is it?"
"""Asked before anything is measured, so that no question pays for what runs for the first time."""


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
    engine: Engine, questions: Sequence[DemoQuestion], profile: str, on_answer: Callable[[], None]
) -> list[Asked]:
    """Every question under one profile, one at a time so that each latency is its own.

    An engine keeps what it has read, so each profile wants a fresh one: else the first would pay for the others.
    """
    engine.ask(WARM_UP, profile, plan=Plan(passages=1))
    asked: list[Asked] = []
    for question in questions:
        started = perf_counter()
        answer = engine.ask(question.question, profile)
        wall_ms = (perf_counter() - started) * 1000
        asked.append(Asked(question=question, profile=profile, answer=answer, wall_ms=wall_ms))
        on_answer()
    return asked
