"""The coordinator of a pool that reads: questions and passages in, readings out, from whichever device is free."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from tokenizers import Encoding, Tokenizer

from ....sla.errors import BackendTimeoutError, ConfigurationError
from ....sla.evidence import Passage
from ...protocol import AnswerKind
from ...reader.batcher import ReadingCache, TimedReading
from ...reader.combine import Combined, combine
from ...reader.parent import load_tokenizer
from ...reader.reading import Reading, merge_windows
from ...reader.store import ReaderSettings, settings_of
from ...reader.windows import Windower
from ..cluster.cluster import Cluster
from ..cluster.device import Device
from ..cluster.plan import ResizePlan, plan_resize
from ..cluster.reader_options import ReaderOptions
from ..errors import BusyError, ElasticError
from ..models.reader import ReaderLayout
from .brown_out import BrownOut
from .demand import Demand
from .metrics import Metrics
from .reading_lane import ReadingLane
from .reading_queue import ReadingCall, ReadingJob, ReadingQueue
from .resizing import ResizeStatus, Resizing

_NO_TEXT = Reading((), -20.0, -20.0, (0.0, 0.0, 1.0), 0)
_CACHED_PAIRS = 4096


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What is asked of `passages`. deadline: seconds on the monotonic clock. priority: lower goes first.

    compute_budget: the share of the full model's FLOPs that each reading may cost; compute_floor: how low the pool may
    put that when it is short of devices.
    """

    text: str
    passages: tuple[Passage, ...]
    kind: AnswerKind = "span"
    n_best: int = 5
    priority: int = 0
    deadline: float | None = None
    compute_budget: float = 1.0
    compute_floor: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """What was read. readings: by passage. tokens: of all of it; cached_tokens: those known before,
    cached_readings: in so many readings.
    """

    combined: Combined
    readings: tuple[Reading, ...]
    tokens: int
    cached_tokens: int
    cached_readings: int
    device_seconds: float

    @property
    def compute_spent(self) -> float:
        """The share of the full model's FLOPs that its readings cost, by tokens; 1 without any."""
        spent = sum(reading.spent * reading.tokens for reading in self.readings)
        return spent / self.tokens if self.tokens else 1.0


@dataclass(frozen=True, slots=True)
class _Read:
    reading: Reading
    seconds: float = 0.0
    is_cached: bool = False
    is_shortened: bool = False


class ReadingEngine:
    """A serving pool of readers. max_waiting: requests that may wait; more are refused with `BusyError`."""

    def __init__(
        self, cluster: Cluster, tokenizer: Tokenizer, settings: ReaderSettings, *, max_waiting: int = 1024
    ) -> None:
        self.cluster = cluster
        self.metrics = Metrics()
        self.max_waiting = max_waiting
        self.resizing = Resizing(cluster, self._move_work, give_up=self._give_up)
        self.brown_out = BrownOut()
        self.is_draining = False
        self._tokenizer = tokenizer
        self._windower = Windower(tokenizer)
        self._settings = settings
        self._cache = ReadingCache(_CACHED_PAIRS)
        self._queue = ReadingQueue(cluster.options.max_batch_tokens)
        self._lanes: dict[int, ReadingLane] = {}
        self._runs: dict[int, asyncio.Task[None]] = {}
        self._calls: dict[ReadingCall, Question] = {}
        self._is_idle = asyncio.Event()
        for device in cluster.devices.values():
            self._open_lane(device)

    @classmethod
    async def start(cls, options: ReaderOptions, *, max_waiting: int = 1024) -> ReadingEngine:
        """Start a pool and serve on it; raises what `Cluster.start` does, and `ConfigurationError`."""
        _refuse_another_model(options)
        tokenizer = await asyncio.to_thread(load_tokenizer)
        cluster = await Cluster.start(options)
        assert isinstance(cluster.layout, ReaderLayout)
        return cls(cluster, tokenizer, settings_of(cluster.layout.head), max_waiting=max_waiting)

    @property
    def size(self) -> int:
        """Devices that serve."""
        return len(self._lanes)

    @property
    def running(self) -> int:
        """Requests of which a device has begun to read."""
        return sum(call.is_started for call in self._calls)

    @property
    def waiting(self) -> int:
        """Requests that wait for their first device."""
        return len(self._calls) - self.running

    @property
    def loads(self) -> dict[int, tuple[int, int]]:
        """Windows that each device reads now; none wait for a device in particular."""
        return {number: (len(lane.batch), 0) for number, lane in self._lanes.items()}

    @property
    def cache_used(self) -> float:
        """There are no KV blocks."""
        return 0.0

    @property
    def demand(self) -> Demand:
        """What it is asked to do."""
        finished = self.metrics.finished["stop"]
        return Demand(self.waiting, self.running, self.metrics.device_seconds, finished, self.size)

    @property
    def seconds_per_passage(self) -> float | None:
        """Recent device time of a window; None before the first."""
        return _mean(lane.seconds_per_window for lane in self._lanes.values())

    def tokenize(self, text: str) -> list[int]:
        """The tokens of `text`, without those that frame a window."""
        return self.encode(text, framed=False).ids

    def encode(self, text: str, *, framed: bool) -> Encoding:
        """The tokens of `text`. framed: with those that frame a window."""
        # As a batch of one, for which other threads may run meanwhile.
        return self._tokenizer.encode_batch([text], add_special_tokens=framed)[0]

    async def answer(self, question: Question) -> Answered:
        """Read the passages and say what they answer.

        Raises `BusyError` when too many wait, and `BackendTimeoutError` at the deadline.
        """
        self._check()
        call = ReadingCall(time.monotonic(), question.priority, question.deadline, compute_floor=question.compute_floor)
        self._calls[call] = question
        try:
            async with asyncio.timeout(_left(question.deadline)):
                read = await self._read(call, question)
        except TimeoutError as error:
            self.metrics.end("deadline", has_deadline=True)
            raise BackendTimeoutError(
                f"the deadline passed before {len(question.passages)} passages were read",
                remedy="allow more time, or send fewer passages",
            ) from error
        except asyncio.CancelledError:
            self.metrics.finished["cancelled"] += 1
            raise
        except ElasticError:
            self.metrics.end("failed", has_deadline=question.deadline is not None)
            raise
        finally:
            self._calls.pop(call)
            if not self._calls:
                self._is_idle.set()
        return self._answered(call, question, read)

    def forget(self) -> None:
        """Drop the readings held, so that a measurement pays for each."""
        self._cache.clear()

    def plan(self, size: int) -> ResizePlan:
        """What a resize to `size` would do; raises `ResizeError` for a size that cannot be."""
        return plan_resize(self.cluster, size)

    async def resize(
        self, size: int, *, operation_id: str | None = None, at_step: Callable[[str], None] = lambda _: None
    ) -> ResizeStatus:
        """Serve on `size` devices; see `Resizing.run`."""
        return await self.resizing.run(size, operation_id=operation_id, at_step=at_step)

    async def drain(self) -> None:
        """Take nothing in any more and finish what runs."""
        self.is_draining = True
        if self._calls:
            self._is_idle.clear()
            await self._is_idle.wait()

    async def aclose(self) -> None:
        """End everything at once; who still waits gets `BusyError`."""
        self.is_draining = True
        await self.resizing.settled()
        for task in self._runs.values():
            task.cancel()
        await asyncio.gather(*self._runs.values(), return_exceptions=True)
        self._refuse_all(lambda: BusyError("the pool is shutting down", remedy="ask another"))
        await self.cluster.aclose()

    def _give_up(self) -> None:
        self._refuse_all(lambda: ElasticError("the pool cannot read any more", remedy="start the pool again"))

    def _refuse_all(self, why: Callable[[], ElasticError]) -> None:
        held = [job for lane in self._lanes.values() for job in lane.batch]
        for job in [*self._queue.jobs, *held]:
            if not job.future.done():
                job.future.set_exception(why())

    def _check(self) -> None:
        if self.is_draining:
            raise BusyError("the pool is shutting down", remedy="ask another")
        self.cluster.require_whole()
        if self.waiting >= self.max_waiting:
            self.metrics.rejected += 1
            wait_s = self.demand.wait_s(self.size)
            raise BusyError(f"{self.waiting} requests wait", remedy="ask again later", wait_s=wait_s)

    async def _read(self, call: ReadingCall, question: Question) -> list[_Read]:
        """A reading for each passage; all that is not known yet waits at once, so that batches are full."""
        budget = question.compute_budget
        held = [self._cache.get(question.text, passage.text, budget) for passage in question.passages]
        unknown = [p.text for p, known in zip(question.passages, held, strict=True) if known is None]
        made = await asyncio.to_thread(
            lambda: [self._windower.windows(question.text, text, budget) for text in unknown]
        )
        loop = asyncio.get_running_loop()
        jobs = [[ReadingJob(call, window, loop.create_future()) for window in windows] for windows in made]
        self._queue.add([job for several in jobs for job in several])
        for lane in self._lanes.values():
            lane.wake()
        new = iter(await asyncio.gather(*(_merged(several, budget) for several in jobs)))
        read = [next(new) if known is None else _Read(known, is_cached=True) for known in held]
        for passage, each in zip(question.passages, read, strict=True):
            if not each.is_shortened:
                self._cache.put(question.text, passage.text, each.reading, budget)
        return read

    def _answered(self, call: ReadingCall, question: Question, read: Sequence[_Read]) -> Answered:
        readings = [each.reading for each in read]
        tokens = sum(each.reading.tokens for each in read)
        cached = sum(each.reading.tokens for each in read if each.is_cached)
        self.metrics.prompt_tokens += tokens
        self.metrics.cached_tokens += cached
        self.metrics.full_tokens += sum(each.reading.spent * each.reading.tokens for each in read)
        self.metrics.end("stop", has_deadline=question.deadline is not None)
        self.metrics.time_to_first_token.observe(time.monotonic() - call.arrived)
        return Answered(
            combined=combine(question.kind, question.passages, readings, self._settings, question.n_best),
            readings=tuple(readings),
            tokens=tokens,
            cached_tokens=cached,
            cached_readings=sum(each.is_cached for each in read),
            device_seconds=sum(each.seconds for each in read),
        )

    def _open_lane(self, device: Device) -> None:
        lane = ReadingLane(self.cluster, device, self.metrics, take=self._take, give_back=self._give_back)
        self._lanes[device.number] = lane
        self._runs[device.number] = asyncio.create_task(lane.run())

    def _take(self) -> list[ReadingJob]:
        self._queue.drop_done()
        in_full = _mean(lane.seconds_in_full for lane in self._lanes.values())
        self.brown_out.observe(len(self._queue.jobs), in_full, self.size)
        self.metrics.compute_level = self.brown_out.level
        free = sum(lane.is_free for lane in self._lanes.values())
        batch = self._queue.take(free, now=time.monotonic(), seconds_per_window=self.seconds_per_passage)
        for job in batch:
            # A window that comes again because its worker was lost had its budget lowered then, not for good.
            question = self._calls.get(job.call)
            wanted = job.window.budget if question is None else question.compute_budget
            job.window = replace(job.window, budget=self.brown_out.budget(wanted, job.call.compute_floor))
        return batch

    def _give_back(self, jobs: list[ReadingJob]) -> None:
        self._queue.add(jobs)
        for lane in self._lanes.values():
            lane.wake()

    async def _move_work(self, plan: ResizePlan) -> None:
        """Between commit and release: joining devices begin, leaving ones finish their batch."""
        for number in plan.joining:
            self._open_lane(self.cluster.devices[number])
        for number in plan.leaving:
            self._lanes.pop(number).close()
            await self._runs.pop(number)


def _refuse_another_model(options: ReaderOptions) -> None:
    if options.simulated is not None and options.simulated.stands_for is not None:
        raise ConfigurationError(
            "a simulated reader's devices are charged for the reader that they serve, not for another model",
            remedy="leave `stands_for` of the simulated device out",
        )


async def _merged(jobs: Sequence[ReadingJob], budget: float) -> _Read:
    """The reading of one passage from its windows', once they are there; they were to be read with `budget`."""
    if not jobs:
        return _Read(_NO_TEXT)
    timed: list[TimedReading] = await asyncio.gather(*(job.future for job in jobs))
    readings = [each.reading for each in timed]
    return _Read(
        merge_windows(readings),
        sum(each.seconds for each in timed),
        # A reader without a dial spends all of its compute, whatever it is allowed.
        is_shortened=any(
            job.window.budget < budget and reading.spent < budget for job, reading in zip(jobs, readings, strict=True)
        ),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
