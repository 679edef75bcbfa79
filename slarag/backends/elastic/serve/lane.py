"""A device's way through its queue: plan a step, have it run, take its tokens; again.

The next step is planned and sent while one runs, so that the device never waits for the coordinator: a token that is
not known yet is the one that the worker has just chosen. If the worker is lost, everything goes back to the last step
that came back.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .. import wire
from ..choice import UNKNOWN_TOKEN
from ..cluster.cluster import Cluster
from ..cluster.device import Device
from ..errors import WorkerGoneError
from .blocks import ROOT, BlockManager
from .metrics import Metrics
from .results import Results
from .scheduler import Queue, Scheduler, Work
from .sequence import Output, Sequence

_STEPS_OUT = 2
_MAX_LOSSES = 5
"""Workers lost in a row without a step that came back: the sequences of that step are taken to be why."""


class Lane:
    """Drives one device. Lanes do not wait for each other.

    on_finish is called for every sequence that is over.
    """

    def __init__(
        self,
        cluster: Cluster,
        device: Device,
        queue: Queue,
        *,
        scheduler: Scheduler,
        metrics: Metrics,
        on_finish: Callable[[Sequence], None],
    ) -> None:
        self.device = device
        self.queue = queue
        self._cluster = cluster
        self._scheduler = scheduler
        self._metrics = metrics
        self._on_finish = on_finish
        self._results = Results(queue, metrics, cluster.layout.config.eos_token_ids, on_finish)
        self._wake = asyncio.Event()
        self._is_closing = False
        self._incarnation = device.incarnation
        self._out: deque[tuple[list[Work], asyncio.Future[wire.Message]]] = deque()
        self._losses = 0
        self._recall: asyncio.Task[None] | None = None

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence here."""
        self.queue.add(sequence)
        self.wake()

    def wake(self) -> None:
        """Look at the queue again."""
        self._wake.set()

    def close(self) -> None:
        """Send no further step, and take back those that the worker has not begun.

        `run` returns when the one that it has begun has come back.
        """
        self._is_closing = True
        self._recall = asyncio.create_task(self._take_back())
        self.wake()

    async def _take_back(self) -> None:
        with suppress(WorkerGoneError):
            reply = await self._cluster.tell(self.device, "recall")
            for _, step in list(self._out)[len(self._out) - reply["steps"] :]:
                self._out.pop()
                step.cancel()

    async def run(self) -> None:
        """Step until closed. What fails here fails the sequences of this device, and then it goes on."""
        try:
            while self._out or not self._is_closing:
                try:
                    await self._advance()
                except Exception:
                    logging.getLogger(__name__).exception("device %d: its sequences have failed", self.device.number)
                    self._fail_all()
            if self._recall is not None:
                await self._recall
            self._roll_back()
        finally:
            self._drop_steps()

    async def _advance(self) -> None:
        """Send a step if there is one; then wait for the oldest that is out, or for something to do."""
        self._wake.clear()
        work = await self._plan()
        if work:
            self._send(work)
        if self._out and (not work or len(self._out) == _STEPS_OUT):
            await self._finish_oldest()
        elif not work and not self._is_closing:
            await self._wake.wait()

    async def _plan(self) -> list[Work]:
        if self._out and (self.queue.is_short or self._incarnation != self.device.incarnation):
            return []
        if not self._out:
            await self._wait_for_worker()
        if self._is_closing or not self.device.serving.is_set():
            return []
        return self._scheduler.plan(self.queue, may_evict=not self._out)

    async def _wait_for_worker(self) -> None:
        while not (self._is_closing or self.device.serving.is_set()):
            waits = [asyncio.ensure_future(event.wait()) for event in (self.device.serving, self._wake)]
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for one in waits:
                    one.cancel()
            self._wake.clear()

    def _send(self, work: list[Work]) -> None:
        if self._incarnation != self.device.incarnation:
            self._incarnation = self.device.incarnation
            self._roll_back()
        forgotten, self.queue.forgotten = self.queue.forgotten, []
        message = {
            "segments": [_segment(item) for item in work],
            "sample": [item.sequence.sampling_message() if item.reaches_end else None for item in work],
            "forget": forgotten,
        }
        for item in work:
            item.sequence.send(item.count, reaches_end=item.reaches_end)
        self._out.append((work, asyncio.ensure_future(self._cluster.tell(self.device, "step", **message))))

    async def _finish_oldest(self) -> None:
        work, reply = self._out[0]
        try:
            found = await reply
        except WorkerGoneError:
            # The next worker runs the same steps over the same blocks; nothing of them counts yet.
            self._lost(work)
            await asyncio.sleep(0)
            return
        self._out.popleft()
        self._losses = 0
        self._metrics.device_seconds += found["seconds"]
        self._results.take(work, found["sampled"])

    def _lost(self, work: list[Work]) -> None:
        self._drop_steps()
        self._roll_back()
        self._losses += 1
        if self._losses >= _MAX_LOSSES:
            logging.getLogger(__name__).error("device %d lost %d workers in one step", self.device.number, self._losses)
            self._losses = 0
            self._fail([item.sequence for item in work])

    def _roll_back(self) -> None:
        for sequence in self.queue.running:
            sequence.roll_back()

    def _drop_steps(self) -> None:
        while self._out:
            _, reply = self._out.popleft()
            if not reply.cancel() and not reply.cancelled():
                reply.exception()

    def _fail_all(self) -> None:
        """Nobody knows what the queue is worth after an error in it: it starts empty, with an empty cache."""
        self._drop_steps()
        queue, blocks = self.queue, self.queue.blocks
        sequences = [*queue.running, *queue.waiting]
        queue.forgotten += [sequence.number for sequence in queue.running]
        queue.running.clear()
        queue.waiting.clear()
        queue.blocks = BlockManager(blocks.num_blocks, blocks.block_tokens)
        self._fail(sequences)

    def _fail(self, sequences: list[Sequence]) -> None:
        for sequence in sequences:
            if sequence.finish is None:
                sequence.finish = "failed"
                sequence.outputs.put_nowait(Output(sequence.stream.flush(), finish="failed"))
                self._on_finish(sequence)


def _segment(item: Work) -> list[Any]:
    sequence = item.sequence
    tokens = sequence.tokens[item.start : item.start + item.count]
    tokens += [UNKNOWN_TOKEN] * (item.count - len(tokens))
    return [sequence.number, item.start, tokens, sequence.told, sequence.table[sequence.told :]]


def arrive(sequence: Sequence, table: list[int], computed: int) -> None:
    """A sequence's blocks are `table` on another device now."""
    sequence.table, sequence.computed, sequence.confirmed = table, computed, computed
    sequence.learnt, sequence.link, sequence.told = 0, ROOT, 0
