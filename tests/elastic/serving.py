"""A pool of the tiny model that the tests of a file share, and what is asked of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import torch

from slarag.backends.elastic.cluster.options import PoolOptions
from slarag.backends.elastic.serve.engine import PoolEngine
from slarag.backends.elastic.serve.sequence import GenerationOptions

PROMPTS = [[11, 200, 37, 5, 301, 90, 17], [44, 256, 8, 63], [9] * 12, [100, 101, 102, 103, 104]]


async def started(folder: Path) -> PoolEngine:
    """Two devices that serve; up to 16 requests wait."""
    options = PoolOptions(
        model=folder,
        devices=2,
        page_bytes=4096,
        kv_blocks=64,
        block_tokens=8,
        max_batch_tokens=32,
        hang_seconds=20.0,
    )
    return await PoolEngine.start(options, max_waiting=16)


def expected_answers(folder: Path) -> list[list[int]]:
    """The greedy answers to all prompts by transformers."""
    return [_expected_tokens(folder, prompt, 24) for prompt in PROMPTS]


def _expected_tokens(folder: Path, prompt: list[int], count: int) -> list[int]:
    from transformers import Qwen3MoeForCausalLM

    model = Qwen3MoeForCausalLM.from_pretrained(folder).eval()
    tokens = list(prompt)
    with torch.inference_mode():
        for _ in range(count):
            tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
    return tokens[len(prompt) :]


async def generate(engine: PoolEngine, prompt: list[int], **options: Any) -> tuple[list[int], str | None]:
    """The answer's tokens, and why it ended."""
    sequence = engine.submit(prompt, GenerationOptions(**options))
    outputs = [output async for output in engine.outputs_of(sequence)]
    return [output.token for output in outputs if output.token is not None], outputs[-1].finish


async def generate_all(engine: PoolEngine, count: int = 24) -> list[list[int]]:
    """The answers to all prompts, asked at once."""
    found = await asyncio.gather(*(generate(engine, prompt, max_tokens=count) for prompt in PROMPTS))
    assert {finish for _, finish in found} == {"length"}
    return [tokens for tokens, _ in found]
