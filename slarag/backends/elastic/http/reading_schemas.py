"""The bodies of requests to a pool that reads."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from pydantic import Field

from ....sla.evidence import Passage
from ...protocol import AnswerKind
from ..serve.reading import Question
from .neutral import Body, NeutralCompletion
from .schemas import Stops, StreamOptions, Token

Text = Annotated[str, Field(max_length=200_000)]


class ReadingBody(Body):
    """What both share. priority: lower goes first. deadline_ms: later the answer is status 504.

    compute_budget: share of the full model's FLOPs that each reading may cost. compute_floor: how low the pool may put
    that while it is short of devices; never by itself if not given.
    """

    model: str | None = None
    user: str | None = None
    priority: int = Field(default=0, ge=-(2**31), lt=2**31)
    deadline_ms: float | None = Field(default=None, gt=0, le=86_400_000, allow_inf_nan=False)
    compute_budget: float = Field(default=1.0, gt=0, le=1, allow_inf_nan=False)
    compute_floor: float = Field(default=1.0, gt=0, le=1, allow_inf_nan=False)

    @property
    def deadline(self) -> float | None:
        """Seconds on the monotonic clock."""
        return None if self.deadline_ms is None else time.monotonic() + self.deadline_ms / 1000


class AnswersBody(ReadingBody):
    """`POST /v1/answers`. passages: best first. n_best: candidates wanted. A claim to verify is a question here."""

    question: Text
    passages: Annotated[list[Text], Field(max_length=4096)]
    kind: AnswerKind = "span"
    n_best: int = Field(default=5, ge=1, le=50)

    def to_question(self) -> Question:
        """As the engine takes it; passages are known by their index."""
        return Question(
            text=self.question,
            passages=numbered(self.passages),
            kind=self.kind,
            n_best=self.n_best,
            priority=self.priority,
            deadline=self.deadline,
            compute_budget=self.compute_budget,
            compute_floor=self.compute_floor,
        )


class SpanCompletionBody(ReadingBody, NeutralCompletion):
    """`POST /v1/completions` of a model that reads.

    prompt: passages and a question, apart by a blank line, the question last; "Question:" before it and "Answer:" after
    it may stand there. n: choices, the best spans. max_tokens: spans that are longer are left out. stop: the text ends
    before it. Nothing is drawn, so the answer is the same under every way of drawing one: temperature, seed, top_p,
    top_k and min_p are kept whatever they are.
    """

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=1)]
    n: int = Field(default=1, ge=1, le=50)
    max_tokens: int = Field(default=30, ge=1, lt=2**31)
    stop: Stops | None = None
    stop_token_ids: Annotated[list[Token], Field(max_length=0)] | None = None
    temperature: float = Field(default=0.0, ge=0, le=2)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=-1, lt=2**31)
    min_p: float = Field(default=0.0, ge=0, le=1)
    logprobs: None = None
    ignore_eos: Literal[False] = False
    add_special_tokens: Literal[True] = True
    stream: bool = False
    stream_options: StreamOptions | None = None

    @property
    def text(self) -> str:
        """The one prompt."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[0]


def numbered(texts: list[str]) -> tuple[Passage, ...]:
    """Passages known by their index."""
    return tuple(Passage(passage_id=str(at), document_id=str(at), text=text) for at, text in enumerate(texts))
