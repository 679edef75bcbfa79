"""One question, from start to end, inside its budget."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np

from .agents.arbitration import suffices
from .agents.context import RunContext
from .agents.events import AnswerEvent, DecisionEvent, Event, IntentEvent
from .agents.models import Models
from .agents.race import Race, call_off
from .agents.reasoner import kind_of
from .agents.state import Verdict
from .agents.verdict import verdict_so_far
from .graph import build_graph
from .outcome import Outcome, answer_of
from .parts import Parts
from .retrievers.protocol import PassageRetriever
from .sla.answer import Answer
from .sla.budget import Budget
from .sla.conditions import Conditions
from .sla.decision import Decision
from .sla.errors import RunError, UnpricedCallError
from .sla.evidence import Passage
from .sla.intents import IntentPrediction
from .sla.plan import Plan
from .sla.profile import Profile

SURELY_OUT_OF_SCOPE = 0.97
"""Probability of out_of_scope from which nothing is read, where abstaining is allowed."""
OUT_OF_SCOPE = "the question is out of the scope of the documents"


@dataclass(frozen=True, kw_only=True, slots=True)
class Query:
    """What is asked. plan: forces the plan. passages: only these are read. intent: spares the classifier."""

    question: str
    profile: Profile
    plan: Plan | None = None
    passages: tuple[Passage, ...] | None = None
    intent: IntentPrediction | None = None


class QueryRun:
    """Runs one query. What is known so far is kept here, and is what the answer is made of when the deadline comes."""

    def __init__(self, parts: Parts, query: Query, emit: Callable[[Event], None]) -> None:
        objectives = query.profile.objectives
        self._parts = parts
        self._query = query
        self._emit = emit
        self._budget = Budget(
            deadline_ms=objectives.latency.deadline_ms if objectives.latency else None,
            usd=objectives.cost.usd_per_query if objectives.cost else None,
        )
        self._models = Models(parts.backends, self._budget)
        self._retriever = _given(query) or parts.retriever
        self._vector: np.ndarray | None = None
        self._conditions = Conditions()
        self._round: RunContext | None = None
        self._found: dict[int, tuple[Passage, ...]] = {}
        self._outcome = Outcome()

    async def answer(self) -> Answer:
        """The answer, or an abstention, at the latest when the deadline passes. Raises `SlaragError`."""
        work = asyncio.create_task(self._work(), name="slarag-query")
        try:
            await asyncio.wait({work}, timeout=self._budget.remaining_s())
        finally:
            is_late = not work.done()
            await call_off(work)
        if is_late:
            self._rescue()
        else:
            work.result()
        self._outcome.is_late = is_late
        return self._end()

    async def decide(self) -> Decision:
        """What would run now, without running it; the reason says so where nothing would, for want of scope."""
        self._models.require_prices()
        await self._understand()
        decision = await self._decide()
        if not self._is_out_of_scope():
            return decision
        return replace(decision, reason=f"nothing would be read: {OUT_OF_SCOPE}; otherwise: {decision.reason}")

    async def _work(self) -> None:
        self._models.require_prices()
        await self._understand()
        if self._is_out_of_scope():
            self._outcome.reason = OUT_OF_SCOPE
            return
        decision = await self._decide()
        more = decision.plan.escalations
        while (await self._run(decision, more)).outcome == "escalate" and more > 0:
            more -= 1
            larger = await self._larger(decision)
            if larger is None:
                return
            decision = larger

    async def _understand(self) -> None:
        with self._stage("embed"):
            self._vector = await self._parts.vector(self._query.question)
        with self._stage("classify"):
            intent = self._query.intent or self._parts.classify(self._query.question, self._vector)
        self._outcome.intent = intent
        self._emit(IntentEvent(intent=intent))

    async def _decide(self) -> Decision:
        with self._stage("decide"):
            self._conditions = await self._parts.conditions()
            decision = self._forced(self._query.plan) if self._query.plan else self._mapped(None)
        self._note(decision)
        return decision

    async def _run(self, decision: Decision, escalations: int) -> Verdict:
        """One round of the graph; a later round that fails leaves the verdict of the one before."""
        context = self._round = self._context(decision.plan, escalations)
        try:
            with self._stage("graph"):
                verdict = await build_graph(decision.plan).run(context)
        except UnpricedCallError:
            raise
        except RunError:
            if not self._outcome.verdicts:
                raise
            verdict = self._outcome.verdicts[-1]
        self._round = None
        self._keep(context, verdict)
        return verdict

    def _context(self, plan: Plan, escalations: int) -> RunContext:
        return RunContext(
            question=self._query.question,
            plan=plan,
            profile=self._query.profile,
            kind=kind_of(self._query.question, self._outcome.intent),
            intent=self._outcome.intent,
            given=self._query.passages is not None,
            vector=self._vector,
            budget=self._budget,
            retriever=self._retriever,
            models=self._models,
            confidence=self._parts.calibration.confidence,
            race=Race(suffices(plan.arbitration, plan.replicas) if plan.replicas > 1 else None),
            escalations=escalations,
            emit=self._tell,
            found=self._found,
        )

    async def _larger(self, decision: Decision) -> Decision | None:
        """The decision for a larger plan that fits into what is left, under the load of now; None if there is none."""
        self._conditions = await self._parts.conditions()
        larger = self._mapped(decision.plan)
        if larger.is_nearest_offer or larger.plan.key == decision.plan.key:
            return None
        self._note(larger)
        return larger

    def _mapped(self, larger_than: Plan | None) -> Decision:
        remaining_s = self._budget.remaining_s()
        return self._parts.mapper.decide(
            self._query.profile,
            self._outcome.intent,
            self._conditions,
            larger_than=larger_than,
            remaining_ms=None if remaining_s is None else remaining_s * 1000,
            remaining_usd=self._budget.remaining_usd(),
        )

    def _forced(self, plan: Plan) -> Decision:
        profile = self._query.profile
        prediction = self._parts.calibration.predict(
            plan, self._outcome.intent, self._conditions, threshold=profile.threshold
        )
        return Decision(
            plan=plan,
            prediction=prediction,
            feasible=(),
            rejected=(),
            binding=None,
            reason="the caller chose the plan",
            is_nearest_offer=False,
        )

    def _rescue(self) -> None:
        """Rule on what the round in hand has read so far."""
        if self._round is not None and (verdict := verdict_so_far(self._round)) is not None:
            self._keep(self._round, verdict)

    def _end(self) -> Answer:
        self._outcome.retrieved = self._found.get(0, ())
        expected_f1 = self._parts.calibration.expected_f1
        answer = answer_of(self._query.question, self._query.profile, self._outcome, self._budget, expected_f1)
        self._emit(AnswerEvent(answer=answer))
        self._emit = _ignore
        return answer

    def _is_out_of_scope(self) -> bool:
        if self._query.plan or self._query.passages is not None or self._query.profile.threshold <= 0:
            return False
        return self._outcome.intent.probabilities["out_of_scope"] >= SURELY_OUT_OF_SCOPE

    def _note(self, decision: Decision) -> None:
        self._outcome.decisions.append(decision)
        self._emit(DecisionEvent(decision=decision))

    def _keep(self, context: RunContext, verdict: Verdict) -> None:
        self._outcome.verdicts.append(verdict)
        self._outcome.timings_ms.update(context.timings_ms)

    def _tell(self, event: Event) -> None:
        self._emit(event)

    @contextmanager
    def _stage(self, name: str) -> Generator[None]:
        began = time.monotonic()
        try:
            yield
        finally:
            took = (time.monotonic() - began) * 1000
            self._outcome.timings_ms[name] = self._outcome.timings_ms.get(name, 0.0) + took


def _given(query: Query) -> PassageRetriever | None:
    """In reading mode, a retriever over the query's own passages."""
    if query.passages is None:
        return None
    from .retrievers.in_memory import MemoryRetriever

    return MemoryRetriever(query.passages)


def _ignore(event: Event) -> None:
    pass
