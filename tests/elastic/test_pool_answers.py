"""What the pool answers, through resizes and lost workers, on real processes.

One pool serves all tests here; each leaves it working, with two devices.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

from slarag.backends.elastic.serve.engine import PoolEngine
from slarag.backends.elastic.serve.sequence import GenerationOptions

from .serving import PROMPTS, expected_answers, generate, generate_all, started


@pytest.fixture(scope="module")
def engine(tiny_folder: Path, runner: asyncio.Runner) -> Generator[PoolEngine]:
    made = runner.run(started(tiny_folder))
    yield made
    runner.run(made.aclose())


@pytest.fixture(scope="module")
def expected(tiny_folder: Path) -> list[list[int]]:
    return expected_answers(tiny_folder)


def test_greedy_answers_are_those_of_transformers(
    engine: PoolEngine, runner: asyncio.Runner, expected: list[list[int]]
) -> None:
    assert runner.run(generate_all(engine)) == expected
    # Again, now from shared prefixes.
    assert runner.run(generate_all(engine)) == expected
    assert engine.metrics.cached_tokens > 0


def test_routing_counts_every_choice_of_every_token(engine: PoolEngine, runner: asyncio.Runner) -> None:
    async def use() -> None:
        before = await engine.routing_counts()
        await generate(engine, [251, 252, 253], max_tokens=5)
        counts = (await engine.routing_counts()) - before
        config = engine.cluster.layout.config
        assert counts.shape == (len(config.sparse_layers), config.num_experts)
        # Three tokens of the prompt and four of the answer; the fifth is chosen and never computed.
        assert (counts.sum(axis=1) == 7 * config.experts_per_token).all()

    runner.run(use())


def test_greedy_answers_do_not_notice_resizes(
    engine: PoolEngine, runner: asyncio.Runner, expected: list[list[int]]
) -> None:
    async def use() -> None:
        for size in (3, 1, 2):
            running = asyncio.create_task(generate_all(engine))
            await asyncio.sleep(0)
            status = await engine.resize(size, operation_id=f"to-{size}")
            assert (status.phase, status.target, engine.size) == ("completed", size, size)
            assert status.bytes_moved == status.bytes_lower_bound
            assert await running == expected

    runner.run(use())


def test_running_answers_are_carried_with_their_blocks(
    engine: PoolEngine, runner: asyncio.Runner, expected: list[list[int]]
) -> None:
    async def use() -> None:
        sequences = [engine.submit(prompt, GenerationOptions(max_tokens=24)) for prompt in PROMPTS]
        while any(sequence.answer_tokens < 3 for sequence in sequences):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        computed_before = engine.metrics.time_to_first_token.counts.copy()
        await engine.resize(1)
        for sequence, tokens in zip(sequences, expected, strict=True):
            found = [output.token async for output in engine.outputs_of(sequence)]
            assert found == tokens
        assert engine.metrics.time_to_first_token.counts == computed_before
        await engine.resize(2)

    runner.run(use())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_answers_survive_lost_workers(
    engine: PoolEngine, runner: asyncio.Runner, expected: list[list[int]], how: signal.Signals
) -> None:
    async def use() -> None:
        before = engine.cluster.replaced
        for device in list(engine.cluster.devices.values()):
            running = asyncio.create_task(generate_all(engine))
            await asyncio.sleep(0.02)
            assert device.worker is not None
            os.kill(device.worker.pid, how)
            assert await running == expected
            await asyncio.gather(*(other.serving.wait() for other in engine.cluster.devices.values()))
        assert engine.cluster.replaced >= before + 1

    runner.run(use())


def test_a_deadline_does_not_outlive_its_answer(engine: PoolEngine, runner: asyncio.Runner) -> None:
    async def use() -> None:
        deadline = asyncio.get_running_loop().time() + 3600
        sequence = engine.submit([1, 2], GenerationOptions(max_tokens=1, deadline=deadline))
        assert [output.finish async for output in engine.outputs_of(sequence)] == ["length"]
        assert sequence.timer is not None
        assert sequence.timer.cancelled()

    runner.run(use())


def test_leaving_early_frees_what_was_held(engine: PoolEngine, runner: asyncio.Runner) -> None:
    async def use() -> None:
        sequence = engine.submit([1, 2, 3], GenerationOptions(max_tokens=400))
        outputs = engine.outputs_of(sequence)
        await anext(outputs)
        await outputs.aclose()
        assert sequence.finish == "cancelled"
        while engine.running or engine.waiting:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        assert engine.cache_used == 0

    runner.run(use())
