"""Kills and stops workers of a pool under requests, also while it is resized: what is lost, and how long it takes.

    python bench/elastic_faults.py [--model FOLDER] [--requests 300] [--every 2.0] [--json]

Every answer is compared with that of an undisturbed pool. A recovery ends when the device has a worker that serves.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from _common import Figure, document, share, show, spread

from slarag.backends.elastic.cluster.options import PoolOptions
from slarag.backends.elastic.errors import ResizeError
from slarag.backends.elastic.models.config import Qwen3MoeConfig
from slarag.backends.elastic.models.random_model import make_random_model
from slarag.backends.elastic.serve.engine import PoolEngine
from slarag.backends.elastic.serve.sequence import GenerationOptions

SMALL = Qwen3MoeConfig(
    vocab_size=512,
    hidden_size=128,
    num_layers=4,
    num_heads=4,
    num_kv_heads=2,
    head_dim=32,
    num_experts=8,
    experts_per_token=2,
    moe_intermediate_size=128,
)
CLIENTS, ANSWER_TOKENS, PROMPTS = 8, 256, 16


@dataclass(slots=True)
class Record:
    """What happened. recoveries: seconds from the fault to a worker that serves."""

    done: int = 0
    wrong: int = 0
    resizes: int = 0
    rolled_back: int = 0
    recoveries: list[float] = field(default_factory=list[float])


async def generate(engine: PoolEngine, number: int) -> list[int | None]:
    prompt = [(number * 31 + k) % 500 for k in range(24)]
    sequence = engine.submit(prompt, GenerationOptions(max_tokens=ANSWER_TOKENS, ignore_eos=True))
    return [output.token async for output in engine.outputs_of(sequence)]


async def ask(engine: PoolEngine, expected: list[list[int | None]], left: list[int], record: Record) -> None:
    while left:
        number = left.pop() % PROMPTS
        record.wrong += await generate(engine, number) != expected[number]
        record.done += 1


async def fault(engine: PoolEngine, how: signal.Signals, record: Record) -> None:
    device = random.choice(list(engine.cluster.devices.values()))
    victim = device.worker
    if victim is None:
        return
    started = time.monotonic()
    os.kill(victim.pid, how)
    while engine.cluster.devices.get(device.number) is device:
        if device.worker not in {victim, None} and device.serving.is_set():
            record.recoveries.append(time.monotonic() - started)
            return
        await asyncio.sleep(0.005)


async def resize(engine: PoolEngine, record: Record) -> None:
    record.resizes += 1
    try:
        await engine.resize(3 if engine.size == 2 else 2)
    except ResizeError:
        record.rolled_back += 1


async def disturb(engine: PoolEngine, every: float, record: Record) -> None:
    for turn in range(1_000_000):
        await asyncio.sleep(every)
        how = signal.SIGSTOP if turn % 2 else signal.SIGKILL
        if turn % 3 == 2:
            await asyncio.gather(resize(engine, record), fault(engine, how, record))
        else:
            await fault(engine, how, record)


async def measure(model: Path, requests: int, every: float) -> Record:
    record = Record()
    engine = await PoolEngine.start(PoolOptions(model=model, devices=2, kv_blocks=256, max_batch_tokens=256))
    try:
        expected = [await generate(engine, number) for number in range(PROMPTS)]
        left = list(range(requests))
        disturbing = asyncio.create_task(disturb(engine, every, record))
        await asyncio.gather(*(ask(engine, expected, left, record) for _ in range(CLIENTS)))
        disturbing.cancel()
        with suppress(asyncio.CancelledError):
            await disturbing
    finally:
        await engine.aclose()
    return record


def figures_of(record: Record) -> dict[str, Figure]:
    return {
        "right_answers": share(record.done - record.wrong, record.done),
        "recovery_s": spread(record.recoveries or [0.0], "s"),
        "resizes_done": share(record.resizes - record.rolled_back, max(1, record.resizes)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Faults of a pool under requests.")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--every", type=float, default=2.0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    random.seed(0)
    with tempfile.TemporaryDirectory() as folder:
        model = args.model or make_random_model(Path(folder) / "model", SMALL)
        record = asyncio.run(measure(model, args.requests, args.every))
    workload = {"model": str(args.model or "small"), "requests": args.requests, "every_s": args.every}
    show(document(workload, figures_of(record)), as_json=args.json)


if __name__ == "__main__":
    main()
