"""A lane over a worker that keeps tokens in blocks as a device keeps keys, and that can be lost at any step."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from slarag.backends.elastic.choice import UNKNOWN_TOKEN
from slarag.backends.elastic.cluster.cluster import Cluster
from slarag.backends.elastic.cluster.device import Device
from slarag.backends.elastic.errors import WorkerGoneError
from slarag.backends.elastic.models.random_model import make_tokenizer
from slarag.backends.elastic.serve.blocks import BlockManager
from slarag.backends.elastic.serve.lane import Lane
from slarag.backends.elastic.serve.metrics import Metrics
from slarag.backends.elastic.serve.scheduler import Queue, Scheduler
from slarag.backends.elastic.serve.sequence import GenerationOptions, Output, Sequence
from slarag.backends.elastic.serve.text import TextStream

BLOCK_TOKENS = 2


def next_token(context: list[int]) -> int:
    return (sum((at + 3) * token for at, token in enumerate(context)) + len(context)) % 90 + 10


@dataclass
class Worker:
    """fails(step) raises what the worker does instead of that step. end: the token that ends answers.

    may_end: steps that have begun wait for it.
    """

    fails: Callable[[int], None] = lambda _: None
    end: int = 7
    blocks: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    tables: dict[int, list[int]] = field(default_factory=dict[int, list[int]])
    newest: dict[int, int] = field(default_factory=dict[int, int])
    steps: int = 0
    device: Any = None

    def __post_init__(self) -> None:
        self.device = SimpleNamespace(number=0, incarnation=0, serving=asyncio.Event())
        self.device.serving.set()
        self.layout = SimpleNamespace(config=SimpleNamespace(eos_token_ids=(self.end,)))
        self._turn = asyncio.Lock()
        self._queued: list[object] = []
        self.may_end = asyncio.Event()
        self.may_end.set()

    async def tell(self, device: Any, call: str, **step: Any) -> dict[str, Any]:
        assert device == self.device
        if call == "recall":
            recalled, self._queued = self._queued, []
            return {"steps": len(recalled)}
        incarnation, ticket = device.incarnation, object()
        self._queued.append(ticket)
        async with self._turn:
            await asyncio.sleep(0)
            if ticket in self._queued:
                self._queued.remove(ticket)
                return await self._begin(incarnation, step)
        return await asyncio.get_running_loop().create_future()

    async def _begin(self, incarnation: int, step: dict[str, Any]) -> dict[str, Any]:
        if self.device.incarnation != incarnation:
            raise WorkerGoneError("it was lost before")
        self.steps += 1
        await self.may_end.wait()
        try:
            self.fails(self.steps)
        except WorkerGoneError:
            self.device.incarnation += 1
            self.tables.clear()
            self.newest.clear()
            raise
        return self._run(step)

    def _run(self, step: dict[str, Any]) -> dict[str, Any]:
        for number in step["forget"]:
            self.tables.pop(number, None)
        sampled = [
            self._segment(*fields, is_sampled=choice is not None)
            for fields, choice in zip(step["segments"], step["sample"], strict=True)
        ]
        return {"sampled": [[token, None, []] for token in sampled if token is not None], "seconds": 0.0}

    def _segment(
        self, number: int, start: int, tokens: list[int], offset: int, blocks: list[int], *, is_sampled: bool
    ) -> int | None:
        table = self.tables.setdefault(number, [])
        table[offset:] = blocks
        for position, token in enumerate(tokens, start):
            known = self.newest[number] if token == UNKNOWN_TOKEN else token
            block = self.blocks.setdefault(table[position // BLOCK_TOKENS], [0] * BLOCK_TOKENS)
            block[position % BLOCK_TOKENS] = known
        end = start + len(tokens)
        context = [self.blocks[table[at // BLOCK_TOKENS]][at % BLOCK_TOKENS] for at in range(end)]
        if not is_sampled:
            return None
        self.newest[number] = next_token(context)
        return self.newest[number]


def lane_of(worker: Worker, finished: list[Sequence], *, num_blocks: int = 64) -> Lane:
    queue = Queue(BlockManager(num_blocks, BLOCK_TOKENS))
    cluster, device = cast("Cluster", worker), cast("Device", worker.device)
    scheduler = Scheduler(max_batch_tokens=8, max_sequences=4)
    return Lane(cluster, device, queue, scheduler=scheduler, metrics=Metrics(), on_finish=finished.append)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return make_tokenizer(320)


def make(tokenizer: Tokenizer, prompt: list[int], max_tokens: int) -> Sequence:
    options = GenerationOptions(max_tokens=max_tokens)
    return Sequence(len(prompt), list(prompt), options, TextStream(tokenizer, ()), time.monotonic())


async def answer(sequence: Sequence) -> list[Output]:
    outputs: list[Output] = []
    while not outputs or outputs[-1].finish is None:
        outputs.append(await sequence.outputs.get())
    return outputs


def expected(prompt: list[int], count: int) -> list[int]:
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(next_token(tokens))
    return tokens[len(prompt) :]


async def serve(lane: Lane, sequences: list[Sequence]) -> list[list[Output]]:
    run = asyncio.create_task(lane.run())
    for sequence in sequences:
        lane.add(sequence)
    try:
        return await asyncio.wait_for(asyncio.gather(*map(answer, sequences)), 20)
    finally:
        lane.close()
        await run


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(1, 9)), min_size=1, max_size=6),
    st.sets(st.integers(1, 60), max_size=12),
    st.integers(11, 40),
)
def test_answers_do_not_depend_on_lost_workers_or_scarce_blocks(
    tokenizer: Tokenizer, sizes: list[tuple[int, int]], lost: set[int], num_blocks: int
) -> None:
    def fail(step: int) -> None:
        # Never five in a row, which a lane takes for a step that kills its workers.
        if step in lost and step % 4:
            raise WorkerGoneError("lost")

    async def use() -> None:
        finished: list[Sequence] = []
        lane = lane_of(Worker(fail), finished, num_blocks=num_blocks)
        sequences = [make(tokenizer, list(range(20, 20 + size)), count) for size, count in sizes]
        found = await serve(lane, sequences)
        for (size, count), outputs in zip(sizes, found, strict=True):
            tokens = [output.token for output in outputs]
            assert tokens == expected(list(range(20, 20 + size)), count)
            assert outputs[-1].finish == "length"
        assert sorted(s.number for s in finished) == sorted(s.number for s in sequences)
        for sequence in list(lane.queue.running):
            lane.queue.drop(sequence)
        assert lane.queue.blocks.available == num_blocks

    asyncio.run(use())


def test_a_step_is_out_while_another_runs_and_what_follows_an_end_is_dropped(tokenizer: Tokenizer) -> None:
    async def use() -> None:
        tokens = expected([20, 21], 3)
        assert tokens.index(tokens[2]) == 2
        worker = Worker(end=tokens[2])
        [outputs] = await serve(lane_of(worker, []), [make(tokenizer, [20, 21], 40)])
        assert [output.token for output in outputs] == tokens
        assert (outputs[-1].finish, worker.steps) == ("stop", 4)

    asyncio.run(use())


def test_an_error_in_a_lane_fails_its_sequences_aloud_and_it_goes_on(
    tokenizer: Tokenizer, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(step: int) -> None:
        if step == 2:
            raise RuntimeError("injected")

    async def use() -> None:
        finished: list[Sequence] = []
        lane = lane_of(Worker(fail), finished)
        run = asyncio.create_task(lane.run())
        first, second = make(tokenizer, [20, 21], 6), make(tokenizer, [30], 4)
        lane.add(first)
        assert (await answer(first))[-1].finish == "failed"
        assert finished == [first]
        lane.add(second)
        assert [output.token for output in await answer(second)] == expected([30], 4)
        lane.close()
        await run

    with caplog.at_level(logging.ERROR):
        asyncio.run(use())
    assert "injected" in caplog.text


def test_a_step_that_kills_every_worker_fails_instead_of_killing_for_ever(tokenizer: Tokenizer) -> None:
    async def use() -> None:
        worker = Worker(fail)
        lane = lane_of(worker, [])
        [outputs] = await serve(lane, [make(tokenizer, [20, 21], 6)])
        assert (outputs[-1].finish, worker.steps) == ("failed", 5)

    def fail(_: int) -> None:
        raise WorkerGoneError("lost")

    asyncio.run(use())


def test_a_closed_lane_ends_although_its_device_serves_no_more(tokenizer: Tokenizer) -> None:
    async def use() -> None:
        worker = Worker()
        worker.device.serving.clear()
        lane = lane_of(worker, [])
        run = asyncio.create_task(lane.run())
        lane.add(make(tokenizer, [20], 2))
        await asyncio.sleep(0)
        lane.close()
        await asyncio.wait_for(run, 10)
        assert len(lane.queue.waiting) == 1

    asyncio.run(use())


def test_a_closed_lane_takes_back_the_step_that_has_not_begun(tokenizer: Tokenizer) -> None:
    async def use() -> None:
        worker = Worker()
        lane = lane_of(worker, [])
        worker.may_end.clear()
        run = asyncio.create_task(lane.run())
        sequence = make(tokenizer, [20, 21], 9)
        lane.add(sequence)
        while sequence.unknown < 2 or worker.steps == 0:  # noqa: ASYNC110
            await asyncio.sleep(0)
        lane.close()
        for _ in range(20):
            await asyncio.sleep(0)
        assert not run.done()
        worker.may_end.set()
        await asyncio.wait_for(run, 20)
        assert worker.steps == 1
        assert (sequence.tokens[2:], sequence.computed, sequence.unknown) == (expected([20, 21], 1), 2, 0)

    asyncio.run(use())
