"""Measures a resize under load against a cold restart, in one run.

    python -m slarag.backends.elastic.bench_resize MODEL --from 2 --to 3

Prints one JSON document. MODEL is a Qwen3-MoE folder, for example one that `models.random_model` made.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import quantiles
from typing import Any

from .cluster.options import PoolOptions
from .serve.engine import PoolEngine
from .serve.sequence import GenerationOptions

SCHEMA = 1
_PROMPT_TOKENS = 32


@dataclass(slots=True)
class Load:
    """Clients that each ask again as soon as they are answered. tokens: when one came. gaps: (when, seconds)."""

    engine: PoolEngine
    clients: int
    answer_tokens: int
    tokens: list[float] = field(default_factory=list[float])
    gaps: list[tuple[float, float]] = field(default_factory=list[tuple[float, float]])
    failed: int = 0
    done: int = 0
    _tasks: list[asyncio.Task[None]] = field(default_factory=list[asyncio.Task[None]])

    def start(self) -> None:
        """Let the clients ask."""
        self._tasks = [asyncio.create_task(self._ask(number)) for number in range(self.clients)]

    async def stop(self) -> None:
        """Stop them."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def rate(self, start: float, end: float) -> float:
        """Tokens per second between two times."""
        return sum(start <= at < end for at in self.tokens) / (end - start)

    def longest_gap(self, start: float, end: float) -> float:
        """The longest wait for a token that ended between two times or a while after."""
        return max((gap for at, gap in self.gaps if start <= at < end), default=0.0)

    async def _ask(self, client: int) -> None:
        turn = 0
        while True:
            turn += 1
            prompt = [(client * 7 + turn * 13 + k) % 250 for k in range(_PROMPT_TOKENS)]
            options = GenerationOptions(max_tokens=self.answer_tokens, ignore_eos=True)
            before: float | None = None
            finish: str | None = None
            async for output in self.engine.outputs_of(self.engine.submit(prompt, options)):
                now = time.monotonic()
                if output.token is not None:
                    self.tokens.append(now)
                    if before is not None:
                        self.gaps.append((now, now - before))
                    before, finish = now, output.finish
            self.done += 1
            self.failed += finish != "length"


@dataclass(slots=True)
class PeakMemory:
    """The most memory that all arenas held at once, bytes."""

    engine: PoolEngine
    bytes: int = 0

    def read(self) -> int:
        """What they hold now."""
        devices = list(self.engine.cluster.devices.values())
        return sum(os.fstat(device.attachment.file).st_blocks * 512 for device in devices)

    async def watch(self) -> None:
        """Keep the peak until cancelled."""
        while True:
            self.bytes = max(self.bytes, self.read())
            await asyncio.sleep(0.005)


async def first_token(engine: PoolEngine) -> None:
    """Serve one token."""
    sequence = engine.submit([1, 2, 3], GenerationOptions(max_tokens=1, ignore_eos=True))
    async for _ in engine.outputs_of(sequence):
        pass


async def cold_start(options: PoolOptions) -> tuple[float, int]:
    """Seconds from nothing to the first token, and the memory then."""
    started = time.monotonic()
    engine = await PoolEngine.start(options)
    try:
        await first_token(engine)
        return time.monotonic() - started, PeakMemory(engine).read()
    finally:
        await engine.aclose()


async def measure(options: PoolOptions, target: int, *, clients: int, answer_tokens: int) -> dict[str, Any]:
    """All figures of one run; times in milliseconds, None for what the load was too small to tell."""
    cold_s, cold_bytes = await cold_start(replace(options, devices=target))
    engine = await PoolEngine.start(options)
    try:
        load = Load(engine, clients, answer_tokens)
        load.start()
        await asyncio.sleep(4.0)
        up = await _resize(engine, load, target)
        up_peak = up.pop("peak_bytes")
        await asyncio.sleep(1.0)
        down = await _resize(engine, load, options.devices)
        await load.stop()
    finally:
        await engine.aclose()
    return {
        "cold_restart_ms": 1000 * cold_s,
        "scale_up_ms": up["ms"],
        "scale_down_ms": down["ms"],
        "scale_up_over_cold_restart": up["ms"] / 1000 / cold_s,
        "scale_down_over_cold_restart": down["ms"] / 1000 / cold_s,
        "throughput_kept": up["throughput_kept"],
        "longest_gap_over_p99": up["longest_gap_over_p99"],
        "peak_memory_over_cold_restart": up_peak / cold_bytes,
        "failed_requests": load.failed,
        "completed_requests": load.done,
        "bytes_moved": up["bytes_moved"],
        "bytes_lower_bound": up["bytes_lower_bound"],
    }


async def _resize(engine: PoolEngine, load: Load, size: int) -> dict[str, Any]:
    memory = PeakMemory(engine)
    watch = asyncio.create_task(memory.watch())
    started = time.monotonic()
    status = await engine.resize(size)
    ended = time.monotonic()
    watch.cancel()
    await asyncio.sleep(0.5)
    window = 3.0
    before = [gap for at, gap in load.gaps if started - window <= at < started]
    p99 = quantiles(before, n=100)[98] if len(before) > 1 else None
    rate = load.rate(started - window, started)
    return {
        "ms": 1000 * status.seconds,
        "throughput_kept": load.rate(started, ended) / rate if rate else None,
        "longest_gap_over_p99": load.longest_gap(started, ended + 0.25) / p99 if p99 else None,
        "peak_bytes": memory.bytes,
        "bytes_moved": status.bytes_moved,
        "bytes_lower_bound": status.bytes_lower_bound,
    }


def document(figures: dict[str, Any], workload: dict[str, Any]) -> dict[str, Any]:
    """The figures as a benchmark prints them."""
    units = {name: "ms" if name.endswith("_ms") else "bytes" if name.startswith("bytes") else "" for name in figures}
    return {
        "schema": SCHEMA,
        "machine": {"cores": os.cpu_count(), "system": platform.platform(), "python": platform.python_version()},
        "workload": workload,
        "figures": {
            name: {"value": value, "unit": units[name], "low": None, "high": None, "n": 1}
            for name, value in figures.items()
        },
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure a resize under load against a cold restart.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--from", dest="size", type=int, default=2)
    parser.add_argument("--to", dest="target", type=int, default=3)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--answer-tokens", type=int, default=64)
    parser.add_argument("--standbys", type=int, default=1)
    args = parser.parse_args(arguments)
    options = PoolOptions(model=args.model, devices=args.size, min_devices=args.size, standbys=args.standbys)
    figures = asyncio.run(measure(options, args.target, clients=args.clients, answer_tokens=args.answer_tokens))
    workload = {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()}
    json.dump(document(figures, workload), sys.stdout, indent=2)
    sys.stdout.write("\n")


if __name__ == "__main__":
    main()
