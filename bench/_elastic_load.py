"""What the benchmarks of the elastic server share: waves of requests with fresh prompts, on a pool of this process."""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from slarag.backends.elastic.models.config import Qwen3MoeConfig
from slarag.backends.elastic.serve.engine import PoolEngine
from slarag.backends.elastic.serve.sequence import GenerationOptions


@dataclass(frozen=True, slots=True)
class Timed:
    """A wave. cpu_seconds: processor time of all processes that served it, which others on the machine stretch less."""

    seconds: float
    cpu_seconds: float


class Stopwatch:
    """Times this process and others by number."""

    def __init__(self, others: Sequence[int] = ()) -> None:
        self._others = others
        self._wall, self._cpu = time.perf_counter(), self._cpu_seconds()

    def read(self) -> Timed:
        """Since it was made."""
        return Timed(time.perf_counter() - self._wall, self._cpu_seconds() - self._cpu)

    def _cpu_seconds(self) -> float:
        fields = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self._others)
        return time.process_time() + sum(int(found[11]) + int(found[12]) for found in fields) / os.sysconf("SC_CLK_TCK")


def workers_of(engine: PoolEngine) -> list[int]:
    """The processes of a pool's devices."""
    return [device.worker.pid for device in engine.cluster.devices.values() if device.worker is not None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Waves:
    """`concurrency` requests at a time, all asked at once; no prompt comes twice, so that no prefix is shared."""

    vocab_size: int
    prompt_tokens: int
    answer_tokens: int

    def prompts(self, concurrency: int, seed: int) -> list[list[int]]:
        """The prompts of one wave."""
        drawn = random.Random(seed)
        return [[drawn.randrange(self.vocab_size) for _ in range(self.prompt_tokens)] for _ in range(concurrency)]

    def rate(self, concurrency: int, seconds: float) -> float:
        """Output tokens per second of a wave that took `seconds`."""
        return concurrency * self.answer_tokens / seconds

    async def on_pool(self, engine: PoolEngine, prompts: list[list[int]]) -> Timed:
        """One wave on a pool, from the first request to the last token; raises if an answer is short."""
        watch = Stopwatch(workers_of(engine))
        answers = await asyncio.gather(*(self._answer(engine, prompt) for prompt in prompts))
        timed = watch.read()
        if any(count != self.answer_tokens for count in answers):
            raise RuntimeError(f"answers of {sorted(set(answers))} tokens, {self.answer_tokens} were asked for")
        return timed

    async def _answer(self, engine: PoolEngine, prompt: list[int]) -> int:
        sequence = engine.submit(prompt, GenerationOptions(max_tokens=self.answer_tokens, ignore_eos=True))
        count = 0
        async for output in engine.outputs_of(sequence):
            count += output.token is not None
        return count


TINY = Qwen3MoeConfig(
    vocab_size=1024,
    hidden_size=256,
    num_layers=4,
    num_heads=4,
    num_kv_heads=2,
    head_dim=64,
    num_experts=8,
    experts_per_token=2,
    moe_intermediate_size=256,
    dtype="bfloat16",
)
