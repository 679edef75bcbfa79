"""What expert parallelism costs: tokens per second of two devices of one thread each, over those of one.

A random Qwen3-MoE with about 100 million active parameters, experts dealt over both devices. The two pools take turns,
wave by wave; a wave is 16 requests asked at once.

`cpu_cost` is the processor time of a wave on two devices over that on one: what the exchange and smaller batches add.
`memory_of_two_threads` is how much faster two threads copy memory than one. Decoding reads nearly all weights for a few
tokens, from memory, so that two devices cannot decode faster than that.

    python bench/expert_parallel.py [--rounds N] [--concurrency C] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
from _common import Figure, document, show, spread
from _elastic_load import Timed, Waves

from slarag.backends.elastic.cluster.options import PoolOptions
from slarag.backends.elastic.models.config import Qwen3MoeConfig
from slarag.backends.elastic.models.random_model import make_random_model
from slarag.backends.elastic.serve.engine import PoolEngine

BAR_OVER_ONE_DEVICE = 1.5
_COPIED_BYTES = 1 << 28

MODEL = Qwen3MoeConfig(
    vocab_size=1024,
    hidden_size=768,
    num_layers=11,
    num_heads=12,
    num_kv_heads=4,
    head_dim=64,
    num_experts=8,
    experts_per_token=2,
    moe_intermediate_size=1536,
    dtype="bfloat16",
)


def active_parameters(config: Qwen3MoeConfig) -> int:
    """Weights that a token meets in the layers and the output, in elements."""
    heads = 2 * config.num_heads + 2 * config.num_kv_heads
    attention = config.hidden_size * heads * config.head_dim
    layer = attention + config.experts_per_token * config.expert_elements
    return config.num_layers * layer + config.vocab_size * config.hidden_size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=16)
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--answer-tokens", type=int, default=64)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(_measure(make_random_model(Path(folder), MODEL), options))
    workload = {name: value for name, value in vars(options).items() if name != "json"}
    workload |= {"model": asdict(MODEL), "active_parameters": active_parameters(MODEL), "bar": BAR_OVER_ONE_DEVICE}
    show(document(workload, figures), as_json=options.json)


async def _measure(model: Path, options: argparse.Namespace) -> dict[str, Figure]:
    waves = Waves(vocab_size=MODEL.vocab_size, prompt_tokens=options.prompt_tokens, answer_tokens=options.answer_tokens)
    pools: dict[int, PoolEngine] = {}
    try:
        for devices in (1, 2):
            pools[devices] = await PoolEngine.start(PoolOptions(model=model, devices=devices, threads=1, standbys=0))
        times: dict[int, list[Timed]] = {devices: [] for devices in pools}
        for turn in range(options.rounds + 1):
            prompts = waves.prompts(options.concurrency, seed=turn)
            for devices, pool in pools.items():
                timed = await waves.on_pool(pool, prompts)
                if turn:  # The first wave warms up.
                    times[devices].append(timed)
    finally:
        for pool in pools.values():
            await pool.aclose()
    rates = {n: [waves.rate(options.concurrency, one.seconds) for one in found] for n, found in times.items()}
    pairs = list(zip(times[1], times[2], strict=True))
    return {
        "tokens_per_s_1_device": spread(rates[1], "tokens/s"),
        "tokens_per_s_2_devices": spread(rates[2], "tokens/s"),
        "over_one_device": spread([one.seconds / two.seconds for one, two in pairs], "ratio"),
        "memory_of_two_threads": spread(_memory_of_two_threads(options.rounds), "ratio"),
        "cpu_cost": spread([two.cpu_seconds / one.cpu_seconds for one, two in pairs], "ratio"),
    }


def _memory_of_two_threads(rounds: int) -> list[float]:
    """Bytes per second that two threads copy, over those of one."""
    buffers = [(np.ones(_COPIED_BYTES, np.uint8), np.ones(_COPIED_BYTES, np.uint8)) for _ in range(2)]

    def seconds(pool: ThreadPoolExecutor, threads: int) -> float:
        started = time.perf_counter()
        list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), buffers[:threads]))
        return time.perf_counter() - started

    with ThreadPoolExecutor(2) as pool:
        return [2 * seconds(pool, 1) / seconds(pool, 2) for _ in range(rounds)]


if __name__ == "__main__":
    main()
