"""How a token is chosen from logits; apart from the code that does it, which needs torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to choose. temperature 0 is greedy; top_k 0 and top_p 1 keep all; logprobs: how many to report, or None."""

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    logprobs: int | None = None


GREEDY = Sampling()
UNKNOWN_TOKEN = -1
"""In a step: the token that the worker itself chose last for this sequence."""
