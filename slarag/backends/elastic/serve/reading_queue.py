"""The windows that wait to be read, and which of them a device reads next."""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass, field

from ...reader.batcher import TimedReading
from ...reader.windows import Window


@dataclass(eq=False, slots=True)
class ReadingCall:
    """A request whose windows are read. deadline: seconds on the monotonic clock. is_started: a device reads it.

    compute_floor: the least compute budget that its windows may be read with.
    """

    arrived: float
    priority: int = 0
    deadline: float | None = None
    compute_floor: float = 1.0
    is_started: bool = False

    @property
    def order(self) -> tuple[int, float, float]:
        """What goes first: priority, then the earlier deadline, then arrival."""
        return (self.priority, math.inf if self.deadline is None else self.deadline, self.arrived)


@dataclass(eq=False, slots=True)
class ReadingJob:
    """A window of a call. lost: workers that ended while they read it."""

    call: ReadingCall
    window: Window
    future: asyncio.Future[TimedReading]
    lost: int = 0

    @property
    def tokens(self) -> int:
        """Its length."""
        return len(self.window.ids)


@dataclass(slots=True)
class ReadingQueue:
    """One queue for all devices: a window belongs to none of them before it is read, so that resizes move nothing.

    batch_tokens: padded tokens of a batch.
    """

    batch_tokens: int
    jobs: list[ReadingJob] = field(default_factory=list[ReadingJob])

    def add(self, jobs: list[ReadingJob]) -> None:
        """Let windows wait for their turn."""
        self.jobs += jobs

    def drop_done(self) -> None:
        """Forget windows whose caller has left."""
        self.jobs = [job for job in self.jobs if not job.future.done()]

    def take(
        self, free_devices: int, *, now: float = -math.inf, seconds_per_window: float | None = None
    ) -> list[ReadingJob]:
        """The next batch for one of `free_devices`: the most urgent window and those nearest to it in length.

        What waits is shared out evenly, so that no device idles while another has a long batch. Windows whose caller
        has left are dropped. Those that would be late after a batch that starts `now`, and whose windows take
        `seconds_per_window` each, wait until no others do: read in vain, they would make the others late too.
        """
        self.drop_done()
        if not self.jobs:
            return []
        share = -(-sum(job.tokens for job in self.jobs) // max(1, free_devices))
        limit = min(self.batch_tokens, share)
        jobs = self._in_time(limit, now, seconds_per_window or 0.0) or self.jobs
        urgent = min(jobs, key=lambda job: job.call.order)
        near = sorted(jobs, key=lambda job: (job is not urgent, abs(job.tokens - urgent.tokens), job.call.order))
        batch = _fitting(near, limit)
        taken = set(map(id, batch))
        self.jobs = [job for job in self.jobs if id(job) not in taken]
        for job in batch:
            job.call.is_started = True
        return batch

    def _in_time(self, limit: int, now: float, seconds_per_window: float) -> list[ReadingJob]:
        """The windows that a batch of `limit` tokens reads before their deadline."""
        mean_tokens = sum(job.tokens for job in self.jobs) / len(self.jobs)
        done = now + max(1.0, limit / mean_tokens) * seconds_per_window
        return [job for job in self.jobs if job.call.deadline is None or job.call.deadline >= done]


def _fitting(jobs: list[ReadingJob], limit: int) -> list[ReadingJob]:
    """The first job and those after it while all, padded to the longest, have at most `limit` tokens."""
    batch: list[ReadingJob] = []
    longest = 0
    for job in jobs:
        longest = max(longest, job.tokens)
        if batch and longest * (len(batch) + 1) > limit:
            break
        batch.append(job)
    return batch
