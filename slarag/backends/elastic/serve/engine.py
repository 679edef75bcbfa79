"""The coordinator: takes requests in, spreads them over devices, and resizes the pool under them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable
from collections.abc import Sequence as Items
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ....sla.errors import SlaragError
from ..cluster.cluster import Cluster
from ..cluster.device import Device
from ..cluster.options import PoolOptions
from ..cluster.resize import ResizePlan, plan_resize
from ..device_layout import KV
from ..errors import BusyError, RequestError
from .blocks import BlockManager
from .demand import Demand
from .hot_experts import HotExperts
from .lane import Lane, arrive
from .metrics import Metrics
from .resizing import ResizeStatus, Resizing
from .routing import RoutingCounts
from .scheduler import Queue, Scheduler
from .sequence import FinishReason, GenerationOptions, Output, Sequence
from .text import TextStream
from .tokenizer import PoolTokenizer


class PoolEngine:
    """A serving pool. max_waiting: answers that may wait for a batch with room; more are refused with `BusyError`."""

    def __init__(self, cluster: Cluster, tokenizer: PoolTokenizer, *, max_waiting: int = 1024) -> None:
        self.cluster = cluster
        self.tokenizer = tokenizer
        self.metrics = Metrics()
        self.max_waiting = max_waiting
        self.resizing = Resizing(
            cluster, self._move_sequences, leave=self._leave, stay=self._stay, give_up=self._give_up
        )
        self.is_draining = False
        self._lanes: dict[int, Lane] = {}
        self._runs: dict[int, asyncio.Task[None]] = {}
        self._live: set[Sequence] = set()
        self._is_idle = asyncio.Event()
        self._routing = RoutingCounts(cluster)
        options, counts = cluster.options, self.routing_counts
        self.hot_experts = HotExperts(cluster, self.resizing, self.metrics, counts, most=options.hot_expert_copies)
        if options.hot_expert_copies:
            cluster.start_task(self.hot_experts.run(options.hot_expert_seconds))
        self._scheduler = Scheduler(options.max_batch_tokens, options.max_sequences)
        for device in cluster.devices.values():
            self._open_lane(device)

    @classmethod
    async def start(cls, options: PoolOptions, *, max_waiting: int = 1024) -> PoolEngine:
        """Start a pool and serve on it; raises what `Cluster.start` does."""
        tokenizer = PoolTokenizer.open(options.model)
        return cls(await Cluster.start(options), tokenizer, max_waiting=max_waiting)

    @property
    def size(self) -> int:
        """Devices that serve."""
        return len(self._lanes)

    @property
    def resize_status(self) -> ResizeStatus:
        """The last resize."""
        return self.resizing.status

    @property
    def running(self) -> int:
        """Sequences that have blocks."""
        return sum(len(lane.queue.running) for lane in self._lanes.values())

    @property
    def waiting(self) -> int:
        """Sequences that wait for their first step."""
        return sum(len(lane.queue.waiting) for lane in self._lanes.values())

    @property
    def loads(self) -> dict[int, tuple[int, int]]:
        """Running and waiting sequences by device."""
        return {n: (len(lane.queue.running), len(lane.queue.waiting)) for n, lane in self._lanes.items()}

    @property
    def seconds_per_passage(self) -> float | None:
        """Unknown: what a passage costs is the prompt's matter."""
        return None

    @property
    def demand(self) -> Demand:
        """What it is asked to do."""
        finished = sum(self.metrics.finished.values())
        return Demand(self.waiting, self.running, self.metrics.device_seconds, finished, self.size)

    @property
    def cache_used(self) -> float:
        """Share of all KV blocks that sequences hold."""
        shares = [lane.queue.blocks.used_share for lane in self._lanes.values()]
        return sum(shares) / len(shares)

    def submit(self, prompt: list[int], options: GenerationOptions) -> Sequence:
        """Queue a prompt; read its answer with `outputs_of`. Raises `BusyError` or `RequestError`."""
        [sequence] = self.submit_all([(prompt, options)])
        return sequence

    def submit_all(self, jobs: Items[tuple[list[int], GenerationOptions]]) -> list[Sequence]:
        """Queue prompts that one request asks for, all or none; raises as `submit` does, before any is queued."""
        for prompt, options in jobs:
            self._check(prompt, options)
        self._admit(len(jobs))
        return [self._queued(prompt, options) for prompt, options in jobs]

    def _queued(self, prompt: list[int], options: GenerationOptions) -> Sequence:
        if options.sampling.temperature and not options.sampling.seed:
            # Drawn here, so that a step that is run again chooses the same token.
            options = replace(options, sampling=replace(options.sampling, seed=secrets.randbits(48)))
        sequence = Sequence(
            prompt_tokens=len(prompt),
            tokens=list(prompt),
            options=options,
            stream=TextStream(self.tokenizer.tokens, options.stop),
            arrived=time.monotonic(),
        )
        self._least_loaded().add(sequence)
        self._live.add(sequence)
        self.metrics.prompt_tokens += len(prompt)
        if options.deadline is not None:
            delay = max(0.0, options.deadline - time.monotonic())
            sequence.timer = asyncio.get_running_loop().call_later(delay, self.finish, sequence, "deadline")
        return sequence

    async def outputs_of(self, sequence: Sequence) -> AsyncGenerator[Output]:
        """The answer as it comes; leaving early cancels the rest."""
        try:
            while True:
                output = await sequence.outputs.get()
                yield output
                if output.finish:
                    return
        finally:
            self.finish(sequence, "cancelled")

    def finish(self, sequence: Sequence, reason: FinishReason) -> None:
        """End a sequence early; what it holds is given up before its device's next step."""
        if sequence.finish is None:
            sequence.finish = reason
            sequence.outputs.put_nowait(Output(sequence.stream.flush(), finish=reason))
            self._on_finish(sequence)

    def plan(self, size: int) -> ResizePlan:
        """What a resize to `size` would do; raises `ResizeError` for a size that cannot be."""
        return plan_resize(self.cluster, size)

    async def resize(
        self, size: int, *, operation_id: str | None = None, at_step: Callable[[str], None] = lambda _: None
    ) -> ResizeStatus:
        """Serve on `size` devices; see `Resizing.run`."""
        return await self.resizing.run(size, operation_id=operation_id, at_step=at_step)

    async def rebalance(self, most: int) -> int:
        """Give the experts that got most tokens so far further copies, at most `most` on a device; returns how many.

        Takes the place of earlier copies; a resize gives them up. Raises `ResizeError` while a resize runs.
        """
        counts = await self.routing_counts()
        return await self.resizing.rebalance(counts.tolist(), most)

    async def routing_counts(self) -> NDArray[np.int64]:
        """Tokens that each expert got since the start: int64 [layers with experts, experts], for placing replicas."""
        return await self._routing.read()

    async def drain(self) -> None:
        """Take nothing in any more and finish what runs."""
        self.is_draining = True
        if self._live:
            self._is_idle.clear()
            await self._is_idle.wait()

    async def aclose(self) -> None:
        """End everything at once; sequences that run end as cancelled."""
        self.is_draining = True
        await self.resizing.settled()
        for sequence in list(self._live):
            self.finish(sequence, "cancelled")
        for task in self._runs.values():
            task.cancel()
        await asyncio.gather(*self._runs.values(), return_exceptions=True)
        await self.cluster.aclose()

    def _give_up(self) -> None:
        for sequence in list(self._live):
            self.finish(sequence, "failed")

    def _admit(self, count: int) -> None:
        """Who gets a place in a batch with its next step holds nobody up, and does not count as waiting."""
        if self.is_draining:
            raise BusyError("the pool is shutting down", remedy="ask another")
        self.cluster.require_whole()
        places = self._scheduler.max_sequences * self.size
        if count > places + self.max_waiting:
            raise RequestError(
                f"{count} answers are asked for at once, but {places} can run and {self.max_waiting} may wait",
                remedy="ask for fewer in one request",
                param="n",
            )
        if self.waiting + count > max(0, places - self.running) + self.max_waiting:
            self.metrics.rejected += 1
            wait_s = self.demand.wait_s(self.size)
            raise BusyError(f"{self.waiting} requests wait", remedy="ask again later", wait_s=wait_s)

    def _check(self, prompt: list[int], options: GenerationOptions) -> None:
        layout = self.cluster.layout
        limit = layout.max_tokens
        if not prompt:
            raise RequestError("the prompt is empty", remedy="give at least one token", param="prompt")
        if len(prompt) + options.max_tokens > limit:
            raise RequestError(
                f"{len(prompt)} prompt tokens and {options.max_tokens} to generate are more than {limit}",
                remedy="shorten the prompt or lower max_tokens",
                param="max_tokens",
            )
        if max(prompt) >= layout.config.vocab_size or min(prompt) < 0:
            raise RequestError("the prompt holds an unknown token", remedy="see /tokenize", param="prompt")

    def _open_lane(self, device: Device) -> None:
        options = self.cluster.options
        queue = Queue(BlockManager(options.kv_blocks, options.block_tokens))
        lane = Lane(
            self.cluster,
            device,
            queue,
            scheduler=self._scheduler,
            metrics=self.metrics,
            on_finish=self._on_finish,
        )
        self._lanes[device.number] = lane
        self._runs[device.number] = asyncio.create_task(lane.run())

    def _least_loaded(self) -> Lane:
        return min(self._lanes.values(), key=lambda lane: lane.queue.load)

    def _on_finish(self, sequence: Sequence) -> None:
        self._live.discard(sequence)
        if sequence.timer is not None:
            sequence.timer.cancel()
        if not self._live:
            self._is_idle.set()
        self.metrics.end(sequence.finish or "failed", has_deadline=sequence.options.deadline is not None)
        self.metrics.cached_tokens += sequence.cached_tokens
        if (pace := sequence.seconds_per_token) is not None:
            self.metrics.time_per_output_token.observe(pace)
        for lane in self._lanes.values():
            if sequence in lane.queue.running or sequence in lane.queue.waiting:
                lane.wake()

    async def _leave(self, plan: ResizePlan) -> None:
        """While experts move: empty the leaving devices, but those without a worker, whose memory goes last."""
        await self._empty([n for n in plan.leaving if not self.cluster.devices[n].is_lost])

    def _stay(self, plan: ResizePlan) -> None:
        """The resize was undone: what was emptied takes sequences again."""
        for number in plan.leaving:
            if number not in self._lanes:
                self._open_lane(self.cluster.devices[number])

    async def _move_sequences(self, plan: ResizePlan) -> None:
        """Between commit and release: open the new devices' lanes, empty the leaving ones that are not empty yet."""
        for number in plan.joining:
            self._open_lane(self.cluster.devices[number])
        await self._empty([n for n in plan.leaving if n in self._lanes])
        self._spread_waiting()

    async def _empty(self, numbers: list[int]) -> None:
        lanes = [self._lanes.pop(number) for number in numbers]
        for lane in lanes:
            lane.close()
        for lane in lanes:
            await self._runs.pop(lane.device.number)
            for sequence in lane.queue.waiting:
                self._least_loaded().add(sequence)
            running = [sequence for sequence in lane.queue.running if sequence.finish is None]
            await asyncio.gather(*(self._carry(sequence, lane) for sequence in running))
        if lanes:
            await self._routing.read()

    async def _carry(self, sequence: Sequence, source: Lane) -> None:
        """Take a sequence and its blocks to another device; without room there, or a copy, it is computed again."""
        target = min(self._lanes.values(), key=lambda lane: (lane.queue.blocks.used_share, lane.queue.load))
        table: list[int] = []
        if not target.queue.blocks.extend(table, sequence.computed):
            sequence.forget_blocks()
            target.add(sequence)
            return
        pairs = list(zip(sequence.table, table, strict=False))
        client, size = self.cluster.memory.client, self.cluster.layout.block_bytes
        numbers = source.device.number, target.device.number
        try:
            await asyncio.to_thread(client.copy_blocks, *numbers, KV, pairs, size)
        except SlaragError:
            target.queue.blocks.release(table)
            sequence.forget_blocks()
            target.add(sequence)
            return
        arrive(sequence, table, sequence.computed)
        target.queue.running.append(sequence)
        target.wake()

    def _spread_waiting(self) -> None:
        """Deal the waiting sequences again over all devices."""
        waiting: list[Sequence] = []
        for lane in self._lanes.values():
            waiting += lane.queue.waiting
            lane.queue.waiting.clear()
        for sequence in sorted(waiting, key=lambda s: s.order):
            self._least_loaded().add(sequence)
