"""Steps of a running pool as its clients see them, from which a `ServiceModel` is fitted."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from ..pool.service import StepSample
from .serve.engine import PoolEngine
from .serve.sequence import GenerationOptions

_ANSWER_TOKENS = 16
_SHORT_PROMPT = 4


async def measure_steps(
    engine: PoolEngine, *, prompts: Sequence[int] = (32, 128, 256), batches: Sequence[int] = (1, 4, 12), rounds: int = 2
) -> list[StepSample]:
    """Measure an otherwise idle pool at its present size.

    prompts: lengths; the last must fit one step beside the most answers. batches: answers on each device at a time.
    """
    samples: list[StepSample] = []
    for turn in range(rounds):
        size, most = engine.size, prompts[-1]
        samples += [StepSample(tokens, 0, await _first_token(engine, tokens, turn), size) for tokens in prompts]
        samples += [StepSample(0, batch, await _pace(engine, batch, turn), size) for batch in batches]
        samples += [StepSample(most, batch, await _slowed(engine, batch, most, turn), size) for batch in batches]
    return samples


async def _first_token(engine: PoolEngine, tokens: int, turn: int) -> float:
    started = time.monotonic()
    times = await _answer(engine, tokens, 1, seed=1000 * turn + tokens)
    return times[0] - started


async def _pace(engine: PoolEngine, batch: int, turn: int) -> float:
    count = batch * engine.size
    seeds = [100_000 * (turn + 1) + 500 * batch + index for index in range(count)]
    answers = await asyncio.gather(*(_answer(engine, _SHORT_PROMPT, _ANSWER_TOKENS, seed=seed) for seed in seeds))
    # While the first and the last of them begin or end, a step is not one of the whole batch.
    gaps = [later - earlier for times in answers for earlier, later in pairwise(times[2:-1])]
    return median(gaps)


async def _slowed(engine: PoolEngine, batch: int, tokens: int, turn: int) -> float:
    """A step of answers in which a prompt is, too: the longest that any answer saw after one came to each device."""
    seeds = [200_000 * (turn + 1) + 500 * batch + index for index in range(batch * engine.size)]
    answers = [asyncio.create_task(_answer(engine, _SHORT_PROMPT, 2 * _ANSWER_TOKENS, seed=seed)) for seed in seeds]
    await _answer(engine, _SHORT_PROMPT, _ANSWER_TOKENS, seed=seeds[0] + 250)
    asked = time.monotonic()
    await asyncio.gather(*(_answer(engine, tokens, 1, seed=seed + 300) for seed in seeds[: engine.size]))
    gaps = [
        max(later - earlier for earlier, later in pairwise(times) if later > asked)
        for times in await asyncio.gather(*answers)
    ]
    return median(gaps)


async def _answer(engine: PoolEngine, tokens: int, length: int, *, seed: int) -> list[float]:
    """When each token came. Prompts are drawn, so that none is in the cache."""
    prompt = random.Random(seed).choices(range(engine.cluster.layout.config.vocab_size), k=tokens)
    options = GenerationOptions(max_tokens=length, ignore_eos=True)
    outputs = engine.outputs_of(engine.submit(prompt, options))
    return [time.monotonic() async for output in outputs if output.token is not None]
