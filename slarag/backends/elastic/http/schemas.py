"""The bodies of requests. Unknown fields are refused: a setting that does nothing is worse than an error."""

from __future__ import annotations

import time
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from ..choice import Sampling
from ..serve.sequence import GenerationOptions
from .neutral import Body, NeutralBody, NeutralCompletion, Off

Token = Annotated[int, Field(ge=0, lt=2**31)]
Text = Annotated[str, Field(max_length=16_000_000)]
"""Bounded, so that it is checked for being UTF-8, too; a body is smaller than that."""
StopText = Annotated[str, Field(min_length=1, max_length=1000)]
_LEAST_TEMPERATURE = 1e-5
"""Under which the likeliest token is taken, as vLLM does: divided by less, logits overflow."""
Stops = StopText | Annotated[list[StopText], Field(max_length=16)]


class StreamOptions(Body):
    """OpenAI's `stream_options`."""

    include_usage: bool = False


class GenerationBody(NeutralBody):
    """What completions and chats share. priority: lower goes first. deadline_ms: what is there then is the answer.

    top_k: 0 and -1 keep all. min_p: share of the likeliest token's probability that one must have to be drawn.
    """

    model: str | None = None
    temperature: float = Field(default=1.0, ge=0, le=100)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=-1, lt=2**31)
    min_p: float = Field(default=0.0, ge=0, le=1)
    n: int = Field(default=1, ge=1, le=128)
    stop: Stops | None = None
    stop_token_ids: Annotated[list[Token], Field(max_length=128)] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str | None = None
    ignore_eos: bool = False
    priority: int = Field(default=0, ge=-(2**31), lt=2**31)
    deadline_ms: float | None = Field(default=None, gt=0, le=86_400_000)

    def options(self, max_tokens: int, logprobs: int | None, copy: int) -> GenerationOptions:
        """The options of the `copy`-th answer."""
        seed = 0 if self.seed is None else abs(self.seed) + 1 + copy
        temperature = float(self.temperature) if self.temperature >= _LEAST_TEMPERATURE else 0.0
        return GenerationOptions(
            max_tokens=max_tokens,
            sampling=Sampling(
                temperature=temperature,
                top_p=float(self.top_p),
                top_k=max(0, self.top_k),
                seed=seed if temperature else 0,
                logprobs=logprobs,
                min_p=float(self.min_p),
            ),
            stop=stop_texts(self.stop),
            stop_tokens=tuple(self.stop_token_ids or ()),
            ignore_eos=self.ignore_eos,
            priority=self.priority,
            deadline=None if self.deadline_ms is None else time.monotonic() + self.deadline_ms / 1000,
        )


def stop_texts(stop: Stops | None) -> tuple[str, ...]:
    """One, several or none."""
    return (stop,) if isinstance(stop, str) else tuple(stop or ())


class CompletionBody(GenerationBody, NeutralCompletion):
    """`POST /v1/completions`. add_special_tokens: those that the tokenizer puts around a text."""

    prompt: Text | list[Token] | Annotated[list[Text] | list[list[Token]], Field(min_length=1, max_length=256)]
    max_tokens: int = Field(default=16, ge=1, lt=2**31)
    logprobs: int | None = Field(default=None, ge=0, le=20)
    add_special_tokens: bool = True


class TextPart(Body):
    """A part of a message."""

    type: Literal["text"]
    text: Text


class Message(Body):
    """A message of a chat; parts of its content are put together."""

    role: Literal["system", "user", "assistant", "developer", "tool"]
    content: Text | Annotated[list[TextPart], Field(min_length=1, max_length=1000)]
    name: Text | None = None

    def to_template(self) -> dict[str, str]:
        """As chat templates take it."""
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": self.role, "content": content} | ({"name": self.name} if self.name else {})


class ChatBody(GenerationBody):
    """`POST /v1/chat/completions`. add_generation_prompt: the template's start of an answer follows the messages."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]
    max_tokens: int | None = Field(default=None, ge=1, lt=2**31)
    max_completion_tokens: int | None = Field(default=None, ge=1, lt=2**31)
    logprobs: bool = False
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    add_special_tokens: bool = False
    add_generation_prompt: bool = True
    continue_final_message: Off = False

    @field_validator("top_logprobs")
    @classmethod
    def _only_beside_logprobs(cls, top: int | None, info: ValidationInfo) -> int | None:
        if top and info.data.get("logprobs") is False:
            raise ValueError("is for `logprobs` true only")
        return top


class TokenizeBody(Body):
    """`POST /tokenize`, as vLLM has it: a text, or a chat as its template writes it.

    add_special_tokens: those that the tokenizer puts around a text; by default for texts of a model that generates.
    return_token_strs: tokens as text, too.
    """

    model: str | None = None
    prompt: Text | None = None
    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)] | None = None
    add_special_tokens: bool | None = None
    add_generation_prompt: bool = True
    continue_final_message: Off = False
    return_token_strs: bool = False


class ScaleBody(Body):
    """`POST /scale_elastic_ep`.

    drain_timeout: seconds that it may take, after which the answer is 408 as in vLLM; since requests are carried and
    not drained, the resize goes on. operation_id: comes back in the
    status. dry_run: answer with the plan and what it would bring, and change nothing. standbys: booted processes to
    keep from now on; None for as many as now.
    """

    new_data_parallel_size: int = Field(ge=1, lt=2**31)
    drain_timeout: float = Field(default=120, gt=0, le=86_400)
    operation_id: str | None = Field(default=None, max_length=200)
    dry_run: bool = False
    standbys: int | None = Field(default=None, ge=0, le=64)
