"""A device's way through its queue: plan a step, have it run, take its tokens; again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

from ..cluster.cluster import Cluster
from ..cluster.device import Device
from ..errors import WorkerGoneError
from .blocks import ROOT
from .metrics import Metrics
from .scheduler import Queue, Scheduler, Work
from .sequence import FinishReason, Output, Sequence


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
        self._wake = asyncio.Event()
        self._is_closing = False
        self._incarnation = device.incarnation

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence here."""
        self.queue.add(sequence)
        self.wake()

    def wake(self) -> None:
        """Look at the queue again."""
        self._wake.set()

    def close(self) -> None:
        """Run no further step; `run` returns when the step that runs now is done."""
        self._is_closing = True
        self.wake()

    async def run(self) -> None:
        """Step until closed."""
        while not self._is_closing:
            self._wake.clear()
            await self.device.serving.wait()
            work = self._scheduler.plan(self.queue)
            if work:
                await self._step(work)
            else:
                await self._wake.wait()

    async def _step(self, work: list[Work]) -> None:
        if self._incarnation != self.device.incarnation:
            self._incarnation = self.device.incarnation
            for sequence in self.queue.running:
                sequence.told = 0
        forgotten, self.queue.forgotten = self.queue.forgotten, []
        message = {
            "segments": [_segment(item) for item in work],
            "sample": [item.sequence.sampling_message() if item.reaches_end else None for item in work],
            "forget": forgotten,
        }
        try:
            reply = await self._cluster.tell(self.device, "step", **message)
        except WorkerGoneError:
            # The next worker runs the same step over the same blocks; nothing of it counts yet.
            await asyncio.sleep(0)
            return
        self._metrics.device_seconds += reply["seconds"]
        self._take(work, reply["sampled"])

    def _take(self, work: list[Work], sampled: list[Any]) -> None:
        results = iter(sampled)
        now = time.monotonic()
        for item in work:
            sequence, ends = item.sequence, item.reaches_end
            sequence.computed += item.count
            sequence.told = len(sequence.table)
            result = next(results) if ends else None
            if sequence.finish:
                continue
            self._learn(sequence)
            if result is not None:
                self._observe(sequence, now)
                self._take_token(sequence, result)

    def _learn(self, sequence: Sequence) -> None:
        size = self.queue.blocks.block_tokens
        for index in range(sequence.learnt, sequence.computed // size):
            tokens = sequence.tokens[index * size : (index + 1) * size]
            sequence.link = self.queue.blocks.learn(sequence.table[index], tokens, sequence.link)
        sequence.learnt = sequence.computed // size

    def _observe(self, sequence: Sequence, now: float) -> None:
        self._metrics.generation_tokens += 1
        if sequence.last_token_at is None:
            self._metrics.time_to_first_token.observe(now - sequence.arrived)
        else:
            self._metrics.inter_token_latency.observe(now - sequence.last_token_at)
        sequence.last_token_at = now

    def _take_token(self, sequence: Sequence, result: list[Any]) -> None:
        token, logprob, top = result
        sequence.tokens.append(token)
        finish = self._ends_with(sequence, token)
        text = "" if finish == "stop" else sequence.stream.push(token)
        if sequence.stream.is_stopped:
            finish = "stop"
        if finish:
            text += sequence.stream.flush()
            sequence.finish = finish
        pairs = tuple((int(other), float(value)) for other, value in top)
        sequence.outputs.put_nowait(Output(text, token, logprob, pairs, finish))
        if finish:
            self._on_finish(sequence)

    def _ends_with(self, sequence: Sequence, token: int) -> FinishReason | None:
        if not sequence.options.ignore_eos and token in self._cluster.layout.config.eos_token_ids:
            return "stop"
        return "length" if sequence.answer_tokens >= sequence.options.max_tokens else None


def _segment(item: Work) -> list[Any]:
    sequence = item.sequence
    tokens = sequence.tokens[sequence.computed : sequence.computed + item.count]
    return [sequence.number, sequence.computed, tokens, sequence.told, sequence.table[sequence.told :]]


def arrive(sequence: Sequence, table: list[int], computed: int) -> None:
    """A sequence's blocks are `table` on another device now."""
    sequence.table, sequence.computed = table, computed
    sequence.learnt, sequence.link, sequence.told = 0, ROOT, 0
