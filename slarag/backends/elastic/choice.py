"""How a token is chosen from logits; apart from the code that does it, which needs torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to choose. temperature 0 is greedy; top_k 0, top_p 1 and min_p 0 keep all.

    logprobs: how many to report, or None. min_p: share of the likeliest token's probability that one must have.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int = 0
    logprobs: int | None = None
    min_p: float = 0.0


GREEDY = Sampling()
UNKNOWN_TOKEN = -1
"""In a step: the token that the worker itself chose last for this sequence."""
