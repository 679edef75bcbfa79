"""From logits to tokens. The same request, seed and position give the same token on any device, also after a retry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..choice import GREEDY, Sampling

_MIX_SEED, _MIX_POSITION, _MASK = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, (1 << 63) - 1


@dataclass(frozen=True, slots=True)
class Sampled:
    """A chosen token. logprob and top [(token, logprob)] only where asked for."""

    token: int
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()

    def to_message(self) -> list[Any]:
        """As plain JSON values."""
        return [self.token, self.logprob, self.top]


@torch.inference_mode()
def sample(logits: Tensor, choices: list[Sampling], positions: list[int]) -> list[Sampled]:
    """Choose a token per row of `logits` (float32 [rows, vocabulary]) for the given positions."""
    greedy: list[int] = logits.argmax(dim=-1).tolist()
    return [
        _sample_row(logits[row], choice, position, greedy[row]) if choice != GREEDY else Sampled(greedy[row])
        for row, (choice, position) in enumerate(zip(choices, positions, strict=True))
    ]


def _sample_row(logits: Tensor, choice: Sampling, position: int, greedy: int) -> Sampled:
    token = greedy if choice.temperature == 0 else _draw(logits / choice.temperature, choice, position)
    if choice.logprobs is None:
        return Sampled(token)
    logprobs = logits.log_softmax(dim=-1)
    values, tokens = logprobs.topk(min(choice.logprobs, len(logprobs)))
    top = tuple(zip(tokens.tolist(), values.tolist(), strict=True))
    return Sampled(token, float(logprobs[token]), top)


def _draw(logits: Tensor, choice: Sampling, position: int) -> int:
    probabilities, tokens = logits.softmax(dim=-1).sort(descending=True, stable=True)
    keep = torch.ones_like(probabilities, dtype=torch.bool)
    if choice.top_k:
        keep[choice.top_k :] = False
    if choice.top_p < 1:
        before = probabilities.cumsum(dim=-1) - probabilities
        keep &= before < choice.top_p
    if choice.min_p:
        keep &= probabilities >= choice.min_p * probabilities[0]
    keep[0] = True
    mixed = (choice.seed * _MIX_SEED + position * _MIX_POSITION) & _MASK
    generator = torch.Generator().manual_seed(mixed)
    drawn = torch.multinomial(probabilities * keep, 1, generator=generator)
    return int(tokens[drawn])
