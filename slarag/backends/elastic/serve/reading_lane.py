"""A device that reads: take a batch of what waits, have it read, hand the readings out; again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from ...reader.batcher import TimedReading
from ...reader.reading import Reading, ReadSpan
from ...reader.windows import Window
from ..cluster.cluster import Cluster
from ..cluster.device import Device
from ..errors import ElasticError, WorkerGoneError
from .metrics import Metrics
from .reading_queue import ReadingJob

_MAX_LOST = 3


class ReadingLane:
    """Drives one device. take: gives the next batch. give_back: takes one that was not read. batch: is read now."""

    def __init__(
        self,
        cluster: Cluster,
        device: Device,
        metrics: Metrics,
        *,
        take: Callable[[], list[ReadingJob]],
        give_back: Callable[[list[ReadingJob]], None],
    ) -> None:
        self.device = device
        self.batch: list[ReadingJob] = []
        self.seconds_per_window: float | None = None
        self.seconds_in_full: float | None = None
        self._cluster = cluster
        self._metrics = metrics
        self._take = take
        self._give_back = give_back
        self._wake = asyncio.Event()
        self._closed = asyncio.Event()
        self._is_warm = False

    @property
    def is_free(self) -> bool:
        """Whether it could take a batch."""
        return not self.batch and not self._closed.is_set() and self.device.serving.is_set()

    def wake(self) -> None:
        """Look at the queue again."""
        self._wake.set()

    def close(self) -> None:
        """Take no further batch; `run` returns when the one that is read now is done."""
        self._closed.set()
        self.wake()

    async def run(self) -> None:
        """Read until closed."""
        while await self._is_serving():
            self._wake.clear()
            self.batch = self._take()
            if self.batch:
                await self._read()
            else:
                await self._wake.wait()

    async def _is_serving(self) -> bool:
        """Wait for a worker; False once closed, with or without one."""
        if self.device.serving.is_set() or self._closed.is_set():
            return not self._closed.is_set()
        waits = [asyncio.ensure_future(event.wait()) for event in (self.device.serving, self._closed)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
        return not self._closed.is_set()

    async def _read(self) -> None:
        windows = [_fields(job.window) for job in self.batch]
        try:
            reply = await self._cluster.tell(self.device, "step", windows=windows)
        except WorkerGoneError:
            await asyncio.sleep(0)  # until the device is known not to serve
            self._lost()
            return
        batch, self.batch = self.batch, []
        self._hand_out(batch, reply["readings"], reply["seconds"])

    def _lost(self) -> None:
        """Whoever is free reads the same; what ends every worker that reads it is given up."""
        batch, self.batch = self.batch, []
        for job in batch:
            job.lost += 1
            if job.lost >= _MAX_LOST and not job.future.done():
                job.future.set_exception(ElasticError("reading this ended the worker", remedy="look into its log"))
        self._give_back(batch)

    def _hand_out(self, batch: Sequence[ReadingJob], readings: Sequence[Any], seconds: float) -> None:
        tokens = sum(job.tokens for job in batch)
        self._metrics.device_seconds += seconds
        read = [_reading(fields) for fields in readings]
        self._observe(seconds / len(batch), seconds / sum(reading.spent for reading in read))
        for job, reading in zip(batch, read, strict=True):
            if not job.future.done():
                job.future.set_result(TimedReading(reading, seconds * job.tokens / tokens))

    def _observe(self, seconds: float, in_full: float) -> None:
        """Take in a batch's seconds a window, as they were and as if all compute had been spent.

        The first batch also pays for the worker's warming up and is left out.
        """
        if not self._is_warm:
            self._is_warm = True
            return
        self.seconds_per_window = _moved(self.seconds_per_window, seconds)
        self.seconds_in_full = _moved(self.seconds_in_full, in_full)


def _moved(mean: float | None, value: float) -> float:
    return value if mean is None else 0.9 * mean + 0.1 * value


def _fields(window: Window) -> list[Any]:
    return [window.ids, window.first_length, [place for pair in window.offsets for place in pair], window.budget]


def _reading(fields: Sequence[Any]) -> Reading:
    spans, log_odds, answer, support, tokens, spent = fields
    return Reading(tuple(ReadSpan(*span) for span in spans), log_odds, answer, tuple(support), tokens, spent)
