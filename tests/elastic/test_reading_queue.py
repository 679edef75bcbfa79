from __future__ import annotations

import asyncio
import math

import pytest

from slarag.backends.elastic.serve.brown_out import BrownOut
from slarag.backends.elastic.serve.reading_queue import ReadingCall, ReadingJob, ReadingQueue
from slarag.backends.reader.windows import Window

NOW = 100.0


@pytest.fixture
def loop() -> asyncio.AbstractEventLoop:
    made = asyncio.new_event_loop()
    made.close()
    return made


def queue_of(loop: asyncio.AbstractEventLoop, *deadlines: float | None, tokens: int = 100) -> ReadingQueue:
    jobs = [
        ReadingJob(ReadingCall(NOW, deadline=deadline), Window([1] * tokens, 5, []), asyncio.Future(loop=loop))
        for deadline in deadlines
    ]
    return ReadingQueue(200, jobs)


def deadlines(batch: list[ReadingJob]) -> list[float | None]:
    return [job.call.deadline for job in batch]


def test_the_earliest_deadlines_go_first(loop: asyncio.AbstractEventLoop) -> None:
    queue = queue_of(loop, NOW + 9, None, NOW + 3, NOW + 5)
    assert deadlines(queue.take(1, now=NOW, seconds_per_window=0.1)) == [NOW + 3, NOW + 5]
    assert deadlines(queue.take(1, now=NOW, seconds_per_window=0.1)) == [NOW + 9, None]


def test_what_would_be_late_does_not_make_others_late(loop: asyncio.AbstractEventLoop) -> None:
    queue = queue_of(loop, NOW + 1, NOW + 1.5, NOW + 5, NOW + 6, None)
    assert deadlines(queue.take(1, now=NOW, seconds_per_window=1.0)) == [NOW + 5, NOW + 6]
    assert deadlines(queue.take(1, now=NOW, seconds_per_window=1.0)) == [None]


def test_what_would_be_late_is_read_when_nothing_else_waits(loop: asyncio.AbstractEventLoop) -> None:
    queue = queue_of(loop, NOW + 1, NOW + 1.5)
    assert deadlines(queue.take(1, now=NOW, seconds_per_window=1.0)) == [NOW + 1, NOW + 1.5]
    assert queue.take(1, now=NOW, seconds_per_window=1.0) == []


def test_before_anything_is_measured_nothing_is_thought_late(loop: asyncio.AbstractEventLoop) -> None:
    queue = queue_of(loop, NOW + 0.001, NOW + 5)
    assert deadlines(queue.take(1, now=NOW, seconds_per_window=None)) == [NOW + 0.001, NOW + 5]


def test_what_waits_is_shared_out_to_the_free_devices(loop: asyncio.AbstractEventLoop) -> None:
    queue = queue_of(loop, None, None)
    assert [len(queue.take(2)), len(queue.take(1))] == [1, 1]


@pytest.mark.parametrize(("patience_s", "at_least"), [(math.inf, 0.45), (0.4, 0.85)])
def test_under_twice_the_load_that_it_sustains_a_device_answers_in_time(
    loop: asyncio.AbstractEventLoop, patience_s: float, at_least: float
) -> None:
    """On a clock of its own: 20 ms a window in full, a request every 10 ms, each with a second's time."""
    queue, dial = ReadingQueue(1000), BrownOut(patience_s=patience_s)
    now, arrived, in_time, measured = NOW, 0, 0, None
    while arrived < 1500:
        while NOW + 0.01 * arrived <= now:
            call = ReadingCall(NOW + 0.01 * arrived, deadline=NOW + 0.01 * arrived + 1, compute_floor=0.4)
            queue.add([ReadingJob(call, Window([1] * 100, 5, []), asyncio.Future(loop=loop))])
            arrived += 1
        queue.jobs = [job for job in queue.jobs if (job.call.deadline or 0) > now]
        dial.observe(len(queue.jobs), 0.02, devices=1)
        batch = queue.take(1, now=now, seconds_per_window=measured)
        measured = 0.02 * dial.budget(1.0, floor=0.4)
        now += max(0.001, measured * len(batch))
        in_time += sum((job.call.deadline or 0) >= now for job in batch)
    assert in_time / arrived >= at_least
