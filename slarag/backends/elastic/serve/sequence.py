"""One sequence of tokens on its way through the pool."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from typing import Any, Literal

from ..choice import GREEDY, Sampling
from .blocks import ROOT
from .text import TextStream

FinishReason = Literal["stop", "length", "deadline", "cancelled", "failed"]
_numbers = itertools.count(1)


@dataclass(frozen=True, kw_only=True, slots=True)
class GenerationOptions:
    """What a request asks for.

    max_tokens: checked at each token. stop: texts that end the answer and are not part of it. priority: lower goes
    first. deadline: seconds on `time.monotonic`; what is there by then is the answer.
    """

    max_tokens: int = 16
    sampling: Sampling = GREEDY
    stop: tuple[str, ...] = ()
    ignore_eos: bool = False
    priority: int = 0
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """A step's addition to an answer. text may be empty while a stop text may be on its way."""

    text: str
    token: int | None = None
    logprob: float | None = None
    top: tuple[tuple[int, float], ...] = ()
    finish: FinishReason | None = None


@dataclass(eq=False, slots=True)
class Sequence:
    """Prompt and answer so far, and where its keys and values are.

    tokens: prompt, then answer. computed: how many of them are in the cache. table: its blocks on its device.
    learnt and link: full blocks that the device's `BlockManager` knows. told: length of the table the worker knows.
    """

    prompt_tokens: int
    tokens: list[int]
    options: GenerationOptions
    stream: TextStream
    arrived: float
    number: int = field(default_factory=lambda: next(_numbers))
    outputs: asyncio.Queue[Output] = field(default_factory=asyncio.Queue[Output])
    computed: int = 0
    cached_tokens: int = 0
    table: list[int] = field(default_factory=list[int])
    learnt: int = 0
    link: int = ROOT
    told: int = 0
    finish: FinishReason | None = None
    last_token_at: float | None = None

    @property
    def answer_tokens(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - self.prompt_tokens

    @property
    def order(self) -> tuple[int, float, int]:
        """What goes first: priority, then arrival."""
        return (self.options.priority, self.arrived, self.number)

    def sampling_message(self) -> list[Any]:
        """How to choose its next token, for the worker; an empty list for greedy."""
        choice = self.options.sampling
        if choice == GREEDY:
            return []
        return [choice.temperature, choice.top_p, choice.top_k, choice.seed, choice.logprobs]

    def forget_blocks(self) -> None:
        """After its blocks are lost or given up: everything is computed again."""
        self.computed = self.learnt = self.told = 0
        self.link = ROOT
        self.table.clear()
