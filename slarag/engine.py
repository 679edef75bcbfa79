"""The engine: questions in, answers under a service-level agreement out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

from .agents.events import Event
from .agents.race import call_off
from .assembly import open_parts
from .backends.protocol import Backend
from .feedback import append_feedback
from .graph import build_graph
from .loop import LoopThread
from .parts import Classifier, Parts
from .query import Query, QueryRun
from .retrievers.protocol import PassageRetriever
from .running import Running, until_over
from .sla.answer import Answer
from .sla.calibration import Calibration
from .sla.decision import Decision
from .sla.errors import ConfigurationError, QuestionError
from .sla.evidence import Passage
from .sla.intents import IntentPrediction
from .sla.mapper import Mapper
from .sla.plan import Plan
from .sla.profile import Profile, load_profile

if TYPE_CHECKING:
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables import Runnable

MAX_QUESTION_CHARACTERS = 20_000
ProfileLike = str | Path | Profile
Result = TypeVar("Result")


class Engine:
    """Answers questions over one corpus. Make one with `Engine.open`; it serves any number of concurrent questions.

    The asynchronous methods run on the caller's event loop; the synchronous ones run on a loop in a thread of the
    engine's own, so that they also work where a loop is running already, as in notebooks.
    """

    def __init__(self, parts: Parts, profile: Profile) -> None:
        self._parts = parts
        self._profile = profile
        self._loop = LoopThread()
        self._running = Running()
        self._closed = False

    @classmethod
    def open(
        cls,
        index: str | Path | PassageRetriever | BaseRetriever,
        *,
        backend: Backend | Sequence[Backend] | None = None,
        pool: str | int | None = None,
        profile: ProfileLike = "balanced",
        calibration: Path | Calibration | None = None,
        classifier: Classifier | None = None,
        mapper: Mapper | None = None,
    ) -> Engine:
        """Open an index folder, or take a retriever, this package's or any of LangChain's; load the models, blocking.

        backend: what reads; several serve as the models of replicas and as a jury. None is the embedded reader.
        pool: instead of a backend, the address of a running pool of readers, or the number of devices to start one
        with, which ends with the engine; without either, the pool at SLARAG_POOL_URL, or else the embedded reader
        in this process.
        profile: of questions that bring none. calibration, classifier, mapper: the shipped ones by default. What the
        engine opens it also closes; a retriever or backend that it was given stays open. Raises `ConfigurationError`.
        """
        contract = _profile(profile)
        parts = open_parts(
            index, backend=backend, pool=pool, calibration=calibration, classifier=classifier, mapper=mapper
        )
        for plan in parts.mapper.space:
            build_graph(plan)
        return cls(parts, contract)

    async def aask(
        self,
        question: str,
        profile: ProfileLike | None = None,
        *,
        plan: Plan | None = None,
        passages: Sequence[Passage] | None = None,
        intent: IntentPrediction | None = None,
    ) -> Answer:
        """Answer `question` under `profile`.

        plan: forces the plan, for measurements. passages: read these instead of searching, ranked by their words where
        they are more than the plan reads. intent: spares the classifier. Returns within the profile's deadline, with an
        abstention where there is no answer worth giving; where nothing was found also under a profile that does not
        allow to abstain.
        Raises `QuestionError` for what is no question, an empty or an oversized one, `RunError` when no replica could
        read, `UnpricedCallError`, before anything is paid, for a backend without a price under a cost cap, and
        `ConfigurationError` once the engine is closed.
        """
        run = QueryRun(self._parts, self._query(question, profile, plan, passages, intent), _ignore)
        return await self._running.of(run.answer())

    def ask(
        self,
        question: str,
        profile: ProfileLike | None = None,
        *,
        plan: Plan | None = None,
        passages: Sequence[Passage] | None = None,
        intent: IntentPrediction | None = None,
    ) -> Answer:
        """`aask` for synchronous callers, inside or outside a running event loop."""
        return self._run(self.aask(question, profile, plan=plan, passages=passages, intent=intent))

    async def astream(
        self,
        question: str,
        profile: ProfileLike | None = None,
        *,
        plan: Plan | None = None,
        passages: Sequence[Passage] | None = None,
        intent: IntentPrediction | None = None,
    ) -> AsyncIterator[Event]:
        """The events of a question as they happen, an `AnswerEvent` last; closing the iterator cancels the query."""
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        run = QueryRun(self._parts, self._query(question, profile, plan, passages, intent), events.put_nowait)
        task = asyncio.create_task(self._running.of(run.answer()), name="slarag-stream")
        task.add_done_callback(lambda _: events.put_nowait(None))
        try:
            while (event := await events.get()) is not None:
                yield event
            await task
        finally:
            await call_off(task)

    async def abatch(
        self, questions: Iterable[str], profile: ProfileLike | None = None, *, concurrency: int = 8
    ) -> list[Answer]:
        """Answers in the order of `questions`, at most `concurrency` at a time; the first error ends the batch."""
        if concurrency < 1:
            raise ValueError(f"concurrency {concurrency!r} is not at least 1")
        if isinstance(questions, str):
            raise QuestionError("the questions are one text, not several", remedy="give a list, or use ask")
        free = asyncio.Semaphore(concurrency)

        async def one(question: str) -> Answer:
            async with free:
                return await self.aask(question, profile)

        tasks = [asyncio.create_task(one(question)) for question in questions]
        try:
            return list(await asyncio.gather(*tasks))
        finally:
            await call_off(*tasks)

    def batch(
        self, questions: Iterable[str], profile: ProfileLike | None = None, *, concurrency: int = 8
    ) -> list[Answer]:
        """`abatch` for synchronous callers."""
        return self._run(self.abatch(questions, profile, concurrency=concurrency))

    async def aexplain(self, question: str, profile: ProfileLike | None = None) -> Decision:
        """The decision that `question` would get now: the plan, what it was chosen over, and which objective bound.

        A question that is surely out of scope would get none; then the reason begins with that. There is no deadline.
        """
        return await QueryRun(self._parts, self._query(question, profile), _ignore).decide()

    def explain(self, question: str, profile: ProfileLike | None = None) -> Decision:
        """`aexplain` for synchronous callers. Nothing is retrieved or read."""
        return self._run(self.aexplain(question, profile))

    async def aclassify(self, question: str) -> IntentPrediction:
        """The intent of `question`."""
        text = self._query(question, None).question
        return self._parts.classify(text, await self._parts.vector(text))

    def classify(self, question: str) -> IntentPrediction:
        """`aclassify` for synchronous callers."""
        return self._run(self.aclassify(question))

    def feedback(self, answer: Answer, correct: bool, path: str | Path) -> None:
        """Append to the JSONL file `path` whether `answer` was right, for `slarag calibrate`. Raises `StorageError`."""
        append_feedback(answer, correct, Path(path))

    def as_runnable(self) -> Runnable[str | dict[str, Any], Answer]:
        """A LangChain Runnable that takes a question, or a mapping of `aask`'s arguments, and gives the `Answer`."""
        from .runnable import runnable

        return runnable(self)

    async def aclose(self) -> None:
        """Close what the engine opened; twice is fine. Asking afterwards is refused, as what runs now is."""
        self._closed = True
        await until_over(over for _, over in self._running.end())
        await self._parts.aclose()
        await asyncio.to_thread(self._loop.close)

    def close(self) -> None:
        """`aclose` for synchronous callers."""
        if self._closed:
            return
        self._closed = True
        here = _loop_of_this_thread()  # what runs there cannot end while this call holds it up
        ended = [over for loop, over in self._running.end() if loop is not here]
        self._loop.run(until_over(ended))
        self._loop.run(self._parts.aclose())
        self._loop.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        """The result of `work` on the engine's own loop, which is not started again once the engine is closed."""
        try:
            self._require_open()
        except ConfigurationError:
            work.close()
            raise
        return self._loop.run(work)

    def _require_open(self) -> None:
        if self._closed:
            raise ConfigurationError("the engine is closed", remedy="open another one with Engine.open")

    def _query(
        self,
        question: str,
        profile: ProfileLike | None,
        plan: Plan | None = None,
        passages: Sequence[Passage] | None = None,
        intent: IntentPrediction | None = None,
    ) -> Query:
        self._require_open()
        return Query(
            question=_checked(question),
            profile=self._profile if profile is None else _profile(profile),
            plan=plan,
            passages=None if passages is None else tuple(passages),
            intent=intent,
        )


def _profile(profile: ProfileLike) -> Profile:
    return profile if isinstance(profile, Profile) else load_profile(profile)


def _checked(question: str) -> str:
    if not isinstance(question, str):
        raise QuestionError(f"the question is of type {type(question).__name__}, not str", remedy="ask in words")
    text = question.strip()
    if not text:
        raise QuestionError("the question is empty", remedy="ask something")
    if len(text) > MAX_QUESTION_CHARACTERS:
        raise QuestionError(
            f"the question has {len(text):,} characters, more than {MAX_QUESTION_CHARACTERS:,}",
            remedy="shorten it; documents belong in the index",
        )
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise QuestionError(f"the question is no text: {error.reason}", remedy="decode it as UTF-8") from None
    return text


def _loop_of_this_thread() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _ignore(event: Event) -> None:
    pass
