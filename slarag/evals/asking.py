"""One question asked of an engine, and what became of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from ..sla.answer import Answer
from ..sla.errors import SlaragError
from ..sla.evidence import Passage
from ..sla.plan import Plan
from ..sla.profile import Profile
from .item import EvalItem
from .outcome import Failure, Measurement, Outcome, Timing
from .scoring import score

RECALL_K = 5


class Asks(Protocol):
    """The part of the engine that an evaluation uses."""

    async def aask(
        self,
        question: str,
        profile: Profile | None = None,
        *,
        plan: Plan | None = None,
        passages: Sequence[Passage] | None = None,
    ) -> Answer:
        """Answer a question; see `Engine.aask`."""
        ...


class Asker:
    """Asks items of an engine and scores the answers. reading: give each item its own passages.

    session: counts the starts of the runner; `clock` returns seconds.
    """

    def __init__(
        self,
        engine: Asks,
        *,
        reading: bool,
        plan: Plan | None = None,
        session: int = 0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._engine = engine
        self._reading = reading
        self._plan = plan
        self._session = session
        self._clock = clock
        self._opened_at = clock()

    async def ask(self, item: EvalItem, profile: Profile) -> Outcome:
        """The outcome of one item; whatever goes wrong is a `Failure`, so that one question never ends a run."""
        if self._reading and not item.passages:
            timing = self._timing(self._clock())
            return Failure(
                profile=profile.name,
                item_id=item.item_id,
                code="no_passages",
                message="the data gives this question no passages to read",
                timing=timing,
            )
        began = self._clock()
        try:
            answer = await self._engine.aask(
                item.question, profile, plan=self._plan, passages=item.passages if self._reading else None
            )
        except SlaragError as error:
            return self._failure(item, profile, error.code, str(error), began)
        except Exception as error:  # noqa: BLE001 - a fault in one question is recorded, the others go on
            return self._failure(item, profile, "unexpected", f"{type(error).__name__}: {error}", began)
        return self._measurement(item, profile, answer, self._timing(began))

    async def ask_all(
        self, items: Iterable[EvalItem], profile: Profile, *, concurrency: int, on_outcome: Callable[[Outcome], None]
    ) -> None:
        """Ask `items` in order, `concurrency` at a time; what `on_outcome` raises ends the run."""
        waiting = iter(items)

        async def work() -> None:
            for item in waiting:
                on_outcome(await self.ask(item, profile))

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(concurrency):
                    group.create_task(work())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    def _measurement(self, item: EvalItem, profile: Profile, answer: Answer, timing: Timing) -> Measurement:
        return Measurement(
            profile=profile.name,
            item_id=item.item_id,
            intent=answer.intent.top,
            intent_hint=item.intent_hint,
            is_impossible=item.is_impossible,
            text=answer.text,
            best_text=answer.best_text,
            abstained=answer.abstained,
            abstain_reason=answer.abstain_reason or None,
            confidence=answer.confidence,
            scores=score(item, text=answer.text, best_text=answer.best_text, abstained=answer.abstained),
            recall_at_5=self._recall(item, answer),
            usd=answer.usd,
            device_seconds=answer.device_seconds,
            met={result.objective: result.met for result in answer.report},
            plans=tuple(decision.plan.key for decision in answer.decisions),
            timing=timing,
        )

    def _recall(self, item: EvalItem, answer: Answer) -> float | None:
        # Given no more passages than are counted, finding the right one is no achievement.
        if self._reading and len(item.passages) <= RECALL_K:
            return None
        return item.recall_at(RECALL_K, answer.retrieved)

    def _failure(self, item: EvalItem, profile: Profile, code: str, message: str, began: float) -> Failure:
        line = " ".join(message.split())[:500]
        return Failure(profile=profile.name, item_id=item.item_id, code=code, message=line, timing=self._timing(began))

    def _timing(self, began: float) -> Timing:
        return Timing(
            session=self._session,
            started_s=began - self._opened_at,
            finished_s=self._clock() - self._opened_at,
        )
