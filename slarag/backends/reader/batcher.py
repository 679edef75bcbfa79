"""Many concurrent readings, one model: a thread that reads whatever has come in, in batches of like length."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

from .reading import Reading
from .windows import Window

BATCH_TOKENS = 2048
"""About eight windows: on one core of a CPU a token takes the least time in batches of four to eight."""
MOST_PADDING = 1.2
"""Padded tokens of a batch per token that is read: a window of quite another length waits for the next batch."""


@dataclass(frozen=True, slots=True)
class TimedReading:
    """A reading and its share of the batch's time, in seconds."""

    reading: Reading
    seconds: float


@dataclass(slots=True)
class _Job:
    window: Window
    deadline: float | None
    future: Future[TimedReading]


class ReadingBatcher:
    """Owns the reading thread; `read` is called in that thread only, with at most `batch_tokens` padded tokens.

    Jobs with the earliest deadline go first; a job that is cancelled or past its deadline before its batch is not read.
    """

    def __init__(self, read: Callable[[list[Window]], list[Reading]], batch_tokens: int = BATCH_TOKENS) -> None:
        self._read = read
        self._batch_tokens = batch_tokens
        self._jobs: list[_Job] = []
        self._wake = threading.Condition()
        self._closed = False
        self._thread: threading.Thread | None = None
        self._running = 0
        self._is_warm = False
        self.seconds_per_window: float | None = None

    @property
    def waiting(self) -> int:
        """Windows that wait for a batch."""
        return len(self._jobs)

    @property
    def running(self) -> int:
        """Windows in the batch that is being read."""
        return self._running

    def submit(self, windows: list[Window], deadline: float | None) -> list[Future[TimedReading]]:
        """Queue windows; `deadline` is in seconds on the monotonic clock."""
        jobs = [_Job(window, deadline, Future()) for window in windows]
        with self._wake:
            if self._closed:
                raise RuntimeError("the reader is closed")
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="slarag-reader", daemon=True)
                self._thread.start()
            self._jobs.extend(jobs)
            self._wake.notify()
        return [job.future for job in jobs]

    def close(self) -> None:
        """Finish the batch in hand, cancel what waits, end the thread."""
        with self._wake:
            self._closed = True
            for job in self._jobs:
                job.future.cancel()
            self._jobs.clear()
            self._wake.notify()
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def _run(self) -> None:
        while (batch := self._next_batch()) is not None:
            if batch:
                self._read_batch(batch)

    def _next_batch(self) -> list[_Job] | None:
        with self._wake:
            while not self._jobs and not self._closed:
                self._wake.wait()
            if self._closed:
                return None
            waiting = [job for job in self._jobs if not job.future.cancelled() and not _gave_up(job)]
            batch = self._choose(waiting)
            chosen = {id(job) for job in batch}
            self._jobs = [job for job in waiting if id(job) not in chosen]
            self._running = len(batch)
            return [job for job in batch if job.future.set_running_or_notify_cancel()]

    def _choose(self, waiting: list[_Job]) -> list[_Job]:
        """The most urgent job and those nearest to it in length that fit the batch, without much padding."""
        if not waiting:
            return []
        urgent = min(waiting, key=lambda job: float("inf") if job.deadline is None else job.deadline)
        length = len(urgent.window.ids)
        by_length = sorted(waiting, key=lambda job: (job is not urgent, abs(len(job.window.ids) - length)))
        batch: list[_Job] = []
        longest, tokens = 0, 0
        for job in by_length:
            longest, tokens = max(longest, len(job.window.ids)), tokens + len(job.window.ids)
            padded = longest * (len(batch) + 1)
            if batch and (padded > self._batch_tokens or padded > MOST_PADDING * tokens):
                break
            batch.append(job)
        return batch

    def _read_batch(self, batch: list[_Job]) -> None:
        began = time.perf_counter()
        try:
            readings = self._read([job.window for job in batch])
        except Exception as error:  # noqa: BLE001  (whatever it was belongs to those who wait)
            for job in batch:
                job.future.set_exception(error)
            return
        finally:
            self._running = 0
        took = time.perf_counter() - began
        tokens = sum(len(job.window.ids) for job in batch)
        self._observe(took / len(batch))
        for job, reading in zip(batch, readings, strict=True):
            job.future.set_result(TimedReading(reading, took * len(job.window.ids) / tokens))

    def _observe(self, seconds: float) -> None:
        """Take in a batch's seconds a window; the first also pays for the model's warming up and is left out."""
        if not self._is_warm:
            self._is_warm = True
            return
        old = self.seconds_per_window
        self.seconds_per_window = seconds if old is None else 0.9 * old + 0.1 * seconds


def _gave_up(job: _Job) -> bool:
    if job.deadline is None or job.deadline > time.monotonic():
        return False
    # The one who waits may cancel at this very moment; a future that runs can no longer be cancelled.
    if job.future.set_running_or_notify_cancel():
        job.future.set_exception(TimeoutError("the deadline passed while the window waited"))
    return True


class ReadingCache:
    """Recent readings of text pairs, so that one query reads no pair twice; for any number of threads."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[str, str, float], Reading] = OrderedDict()

    def get(self, first: str, passage: str, budget: float = 1.0) -> Reading | None:
        """The reading of the pair within `budget`, if it is still held."""
        key = (first, passage, budget)
        with self._lock:
            reading = self._entries.get(key)
            if reading is not None:
                self._entries.move_to_end(key)
            return reading

    def put(self, first: str, passage: str, reading: Reading, budget: float = 1.0) -> None:
        """Hold a reading; the one unused for longest goes."""
        if self._size == 0:
            return
        with self._lock:
            self._entries[first, passage, budget] = reading
            if len(self._entries) > self._size:
                self._entries.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._entries.clear()
