"""Trials of plans on questions whose answer is known: what they came to, and how long they took."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from ..sla.answer import Answer
from ..sla.confidence import ConfidenceFeatures
from ..sla.errors import SlaragError
from ..sla.evidence import Passage
from ..sla.intents import Intent, IntentPrediction
from ..sla.plan import Plan
from ..sla.profile import Profile
from .folder import refused, reopened
from .item import EvalItem
from .memo import Memory, remembering
from .scoring import score

# Nothing is promised, so nothing ends a trial early and nothing is withheld.
UNBOUND = Profile(name="unbound", description="No objective, for measuring plans.", priority="quality")


class Measurable(Protocol):
    """The part of the engine that a calibration uses."""

    async def aask(
        self,
        question: str,
        profile: Profile | None = None,
        *,
        plan: Plan | None = None,
        passages: Sequence[Passage] | None = None,
        intent: IntentPrediction | None = None,
    ) -> Answer:
        """Answer a question; see `Engine.aask`."""
        ...

    async def aclassify(self, question: str) -> IntentPrediction:
        """The question's intent."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One plan on one question, reading through a memory.

    f1: of the best answer, 0 on unanswerable questions. wrong: whether that answer is wrong. answered: whether there
    was one. device_seconds: of its own readings. confidence: as the engine stated it, features: what it was made from.
    """

    plan_key: str
    item_id: str
    intent: Intent
    f1: float
    wrong: bool
    answered: bool
    device_seconds: float
    confidence: float
    features: ConfidenceFeatures | None

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Trial:
        """A trial from `to_dict`'s result."""
        features = raw["features"]
        values: dict[str, Any] = {**raw, "features": None if features is None else ConfidenceFeatures(**features)}
        return cls(**values)


@dataclass(frozen=True, kw_only=True, slots=True)
class TimedRun:
    """One plan on one question, alone and without a memory. latency_ms: wall time."""

    plan_key: str
    item_id: str
    latency_ms: float
    device_seconds: float


class TrialRun:
    """Runs plans on questions.

    `plans` are timed; `forget` makes the reader forget what it has read.
    failures: by error code, how many trials could not be measured; they are nobody's score.
    """

    def __init__(self, engine: Measurable, plans: Sequence[Plan], forget: Callable[[], None]) -> None:
        self._engine = engine
        self._plans = plans
        self._forget = forget
        self.failures: dict[str, int] = {}

    async def intent(self, item: EvalItem) -> Intent:
        """The likeliest intent of the question of `item`."""
        return (await self._engine.aclassify(item.question)).top

    async def trials(
        self,
        item: EvalItem,
        plans: Sequence[Plan],
        *,
        concurrency: int,
        reading: bool = False,
        corpus: str | None = None,
    ) -> list[Trial]:
        """`plans` on `item`, `concurrency` at a time, sharing one memory.

        reading: over the item's own passages. corpus: the name of the documents to search, None for all.
        """
        memory, free = Memory(), asyncio.Semaphore(concurrency)
        with remembering(memory):
            intent = await self._engine.aclassify(item.question)

        async def one(plan: Plan) -> Trial | None:
            async with free:
                with remembering(memory, corpus=corpus):
                    answer = await self._ask(item, plan, intent, item.passages if reading else None)
            return None if answer is None else _trial(item, plan, answer)

        found = await asyncio.gather(*(one(plan) for plan in plans))
        self._forget()
        return [trial for trial in found if trial is not None]

    async def timed(self, item: EvalItem) -> list[TimedRun]:
        """Every plan on `item`, one after the other, each reading afresh."""
        runs: list[TimedRun] = []
        for plan in self._plans:
            self._forget()
            began = time.perf_counter()
            answer = await self._ask(item, plan)
            took_ms = (time.perf_counter() - began) * 1000
            if answer is not None:
                runs.append(
                    TimedRun(
                        plan_key=plan.key,
                        item_id=item.item_id,
                        latency_ms=took_ms,
                        device_seconds=answer.device_seconds,
                    )
                )
        return runs

    async def _ask(
        self,
        item: EvalItem,
        plan: Plan,
        intent: IntentPrediction | None = None,
        passages: Sequence[Passage] | None = None,
    ) -> Answer | None:
        try:
            return await self._engine.aask(item.question, UNBOUND, plan=plan, passages=passages, intent=intent)
        except SlaragError as error:
            self.failures[error.code] = self.failures.get(error.code, 0) + 1
            return None


class TrialLog:
    """The trials of a calibration on disk, so that an interrupted one goes on; lines on one question add up."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> dict[str, list[Trial]]:
        """The trials by question; a line that was cut short is left out."""
        found: dict[str, list[Trial]] = {}
        for item_id, trials in self._lines() if self._path.is_file() else ():
            found.setdefault(item_id, []).extend(trials)
        return found

    def append(self, item_id: str, trials: Sequence[Trial]) -> None:
        """Add trials of one question."""
        line = json.dumps({"item_id": item_id, "trials": [trial.to_dict() for trial in trials]})
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with reopened(self._path) as lines:
                lines.write(f"{line}\n")
        except OSError as error:
            raise refused(self._path, error) from error

    def _lines(self) -> Iterator[tuple[str, list[Trial]]]:
        for line in self._path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue
            yield row["item_id"], [Trial.from_dict(trial) for trial in row["trials"]]


def _trial(item: EvalItem, plan: Plan, answer: Answer) -> Trial:
    scores = score(item, text=answer.best_text, best_text=answer.best_text, abstained=False)
    return Trial(
        plan_key=plan.key,
        item_id=item.item_id,
        intent=answer.intent.top,
        f1=scores.f1_forced or 0.0,
        wrong=not scores.correct,
        answered=bool(answer.best_text),
        device_seconds=answer.device_seconds,
        confidence=answer.confidence,
        features=answer.features,
    )
