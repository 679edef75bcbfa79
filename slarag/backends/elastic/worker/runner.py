"""Runs a device's steps: tokens in, tokens out. It holds block tables and nothing else of a sequence."""

from __future__ import annotations

import time
from typing import Any

from ..choice import GREEDY, Sampling
from ..models.paged import Batch, PagedKV, Segment
from ..models.qwen3_moe import Qwen3Moe
from .sampling import sample


class StepRunner:
    """Runs steps of a model over a device's cache."""

    def __init__(self, model: Qwen3Moe, cache: PagedKV) -> None:
        self._model = model
        self._cache = cache
        self._tables: dict[int, list[int]] = {}

    def run(self, step: dict[str, Any]) -> dict[str, Any]:
        """Run one step and return its reply.

        `segments`: [sequence, position of the first new token, tokens, table offset, table blocks from there].
        `sample`: by segment, how to choose a token after its last one; null to choose none, an empty list for greedy.
        `forget`: sequences that are over.
        """
        started = time.monotonic()
        for sequence in step["forget"]:
            self._tables.pop(sequence, None)
        segments = [self._segment(*fields) for fields in step["segments"]]
        batch = Batch.of(segments, self._cache.block_tokens)
        states = self._model.forward(batch, self._cache)
        chosen = [index for index, choice in enumerate(step["sample"]) if choice is not None]
        sampled: list[Any] = []
        if chosen:
            logits = self._model.logits(states[batch.last_rows[chosen]])
            choices = [_sampling(step["sample"][index]) for index in chosen]
            positions = [segments[index].start + len(segments[index].tokens) for index in chosen]
            sampled = [token.to_message() for token in sample(logits, choices, positions)]
        return {"sampled": sampled, "seconds": time.monotonic() - started}

    def _segment(self, sequence: int, start: int, tokens: list[int], offset: int, blocks: list[int]) -> Segment:
        table = self._tables.setdefault(sequence, [])
        table[offset:] = blocks
        return Segment(tokens, start, table)


def _sampling(fields: list[Any]) -> Sampling:
    return Sampling(*fields) if fields else GREEDY
