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

    max_tokens: checked at each token. stop and stop_tokens: texts and tokens that end the answer and are not part of
    its text. priority: lower goes first. deadline: seconds on `time.monotonic`; what is there by then is the answer.
    """

    max_tokens: int = 16
    sampling: Sampling = GREEDY
    stop: tuple[str, ...] = ()
    stop_tokens: tuple[int, ...] = ()
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

    tokens: prompt, then answer. computed: how many of them are in the cache once all steps that are out have come
    back; confirmed: now. unknown: tokens of the answer that steps that are out will bring. table: its blocks on its
    device. learnt and link: full blocks that the device's `BlockManager` knows. told: length of the table the worker
    knows. timer: of its deadline.
    """

    prompt_tokens: int
    tokens: list[int]
    options: GenerationOptions
    stream: TextStream
    arrived: float
    number: int = field(default_factory=lambda: next(_numbers))
    outputs: asyncio.Queue[Output] = field(default_factory=asyncio.Queue[Output])
    computed: int = 0
    confirmed: int = 0
    unknown: int = 0
    cached_tokens: int = 0
    table: list[int] = field(default_factory=list[int])
    learnt: int = 0
    link: int = ROOT
    told: int = 0
    finish: FinishReason | None = None
    first_token_at: float | None = None
    last_token_at: float | None = None
    timer: asyncio.TimerHandle | None = None

    @property
    def answer_tokens(self) -> int:
        """Tokens of the answer so far."""
        return len(self.tokens) - self.prompt_tokens

    @property
    def length(self) -> int:
        """Tokens, with those that steps that are out will bring."""
        return len(self.tokens) + self.unknown

    @property
    def is_complete(self) -> bool:
        """Whether steps that are out bring the last token that was asked for."""
        return self.unknown > 0 and self.length - self.prompt_tokens >= self.options.max_tokens

    @property
    def seconds_per_token(self) -> float | None:
        """Mean time from token to token so far; None before the second."""
        if self.first_token_at is None or self.last_token_at is None or self.answer_tokens <= 1:
            return None
        return (self.last_token_at - self.first_token_at) / (self.answer_tokens - 1)

    @property
    def order(self) -> tuple[int, float, int]:
        """What goes first: priority, then arrival."""
        return (self.options.priority, self.arrived, self.number)

    def sampling_message(self) -> list[Any]:
        """How to choose its next token, for the worker; an empty list for greedy."""
        choice = self.options.sampling
        if choice == GREEDY:
            return []
        return [choice.temperature, choice.top_p, choice.top_k, choice.seed, choice.logprobs, choice.min_p]

    def send(self, count: int, *, reaches_end: bool) -> None:
        """A step with its next `count` tokens is out."""
        self.computed += count
        self.unknown += reaches_end
        self.told = len(self.table)

    def confirm(self, count: int, *, reaches_end: bool) -> None:
        """The oldest step that was out has come back."""
        self.confirmed += count
        self.unknown -= reaches_end

    def roll_back(self) -> None:
        """Nothing that was out comes back, and the worker knows nothing of this sequence."""
        self.computed = self.confirmed
        self.unknown = self.told = 0

    def forget_blocks(self) -> None:
        """After its blocks are lost or given up: everything is computed again. No step with it may be out."""
        self.computed = self.confirmed = self.learnt = self.told = 0
        self.link = ROOT
        self.table.clear()
