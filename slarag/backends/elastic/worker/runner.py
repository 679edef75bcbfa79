"""Runs a device's steps: tokens in, tokens out. It holds block tables and nothing else of a sequence."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ..choice import GREEDY, UNKNOWN_TOKEN, Sampling
from ..models.paged import Batch, PagedKV, Segment
from ..models.qwen3_moe import Qwen3Moe
from .sampling import Sampled, sample


class StepRunner:
    """Runs steps of a model over a device's cache."""

    def __init__(self, model: Qwen3Moe, cache: PagedKV) -> None:
        self._model = model
        self._cache = cache
        self._tables: dict[int, list[int]] = {}
        self._newest: dict[int, int] = {}

    def run(self, step: dict[str, Any]) -> dict[str, Any]:
        """Run one step and return its reply.

        `segments`: [sequence, position of the first new token, tokens, table offset, table blocks from there]. The last
        token may be `UNKNOWN_TOKEN`: the one that was chosen here in an earlier step.
        `sample`: by segment, how to choose a token after its last one; null to choose none, an empty list for greedy.
        `forget`: sequences that are over.
        """
        started = time.monotonic()
        for sequence in step["forget"]:
            self._tables.pop(sequence, None)
            self._newest.pop(sequence, None)
        segments = [self._segment(*fields) for fields in step["segments"]]
        batch = Batch.of(segments, self._cache.block_tokens)
        states = self._model.forward(batch, self._cache)
        chosen = [index for index, choice in enumerate(step["sample"]) if choice is not None]
        sampled = self._sample(states[batch.last_rows[chosen]], step, segments, chosen) if chosen else []
        for index, token in zip(chosen, sampled, strict=True):
            self._newest[step["segments"][index][0]] = token.token
        return {"sampled": [token.to_message() for token in sampled], "seconds": time.monotonic() - started}

    def _sample(
        self, states: Tensor, step: dict[str, Any], segments: Sequence[Segment], chosen: Sequence[int]
    ) -> list[Sampled]:
        choices = [_sampling(step["sample"][index]) for index in chosen]
        positions = [segments[index].start + len(segments[index].tokens) for index in chosen]
        return sample(self._model.logits(states), choices, positions)

    def _segment(self, sequence: int, start: int, tokens: list[int], offset: int, blocks: list[int]) -> Segment:
        table = self._tables.setdefault(sequence, [])
        table[offset:] = blocks
        if tokens[-1] == UNKNOWN_TOKEN:
            tokens[-1] = self._newest[sequence]
        return Segment(tokens, start, table)


def _sampling(fields: list[Any]) -> Sampling:
    return Sampling(*fields) if fields else GREEDY
