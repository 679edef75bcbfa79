"""The bodies of requests. Unknown fields are refused: a setting that does nothing is worse than an error."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..choice import Sampling
from ..serve.sequence import GenerationOptions

Token = Annotated[int, Field(ge=0, lt=2**31)]
StopText = Annotated[str, Field(min_length=1, max_length=1000)]


Neutral = Annotated[float, Field(ge=0, le=0)]
"""A setting that clients send and that is not served: only the value that does nothing is taken."""


class Body(BaseModel):
    """What all bodies share. A known field that is null is as if it were left out, as for OpenAI."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _drop_nulls(cls, raw: Any) -> Any:
        if not isinstance(raw, dict):
            return raw
        given = cast("dict[str, Any]", raw)
        return {name: value for name, value in given.items() if value is not None or name not in cls.model_fields}


class StreamOptions(Body):
    """OpenAI's `stream_options`."""

    include_usage: bool = False


class GenerationBody(Body):
    """What completions and chats share. priority: lower goes first. deadline_ms: what is there then is the answer."""

    model: str | None = None
    temperature: float = Field(default=1.0, ge=0, le=100)
    top_p: float = Field(default=1.0, gt=0, le=1)
    top_k: int = Field(default=0, ge=0, lt=2**31)
    n: int = Field(default=1, ge=1, le=128)
    stop: StopText | Annotated[list[StopText], Field(max_length=16)] | None = None
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: str | None = None
    presence_penalty: Neutral = 0.0
    frequency_penalty: Neutral = 0.0
    repetition_penalty: float = Field(default=1.0, ge=1, le=1)
    ignore_eos: bool = False
    priority: int = Field(default=0, ge=-(2**31), lt=2**31)
    deadline_ms: float | None = Field(default=None, gt=0, le=86_400_000)

    def options(self, max_tokens: int, logprobs: int | None, copy: int) -> GenerationOptions:
        """The options of the `copy`-th answer."""
        stops = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        seed = 0 if self.seed is None else abs(self.seed) + 1 + copy
        return GenerationOptions(
            max_tokens=max_tokens,
            sampling=Sampling(
                float(self.temperature), float(self.top_p), self.top_k, seed if self.temperature else 0, logprobs
            ),
            stop=stops,
            ignore_eos=self.ignore_eos,
            priority=self.priority,
            deadline=None if self.deadline_ms is None else time.monotonic() + self.deadline_ms / 1000,
        )


class CompletionBody(GenerationBody):
    """`POST /v1/completions`."""

    prompt: str | list[Token] | Annotated[list[str] | list[list[Token]], Field(min_length=1, max_length=256)]
    max_tokens: int = Field(default=16, ge=1, lt=2**31)
    logprobs: int | None = Field(default=None, ge=0, le=20)


class TextPart(Body):
    """A part of a message."""

    type: Literal["text"]
    text: str


class Message(Body):
    """A message of a chat; parts of its content are put together."""

    role: Literal["system", "user", "assistant", "developer", "tool"]
    content: str | Annotated[list[TextPart], Field(min_length=1, max_length=1000)]
    name: str | None = None

    def to_template(self) -> dict[str, str]:
        """As chat templates take it."""
        content = self.content if isinstance(self.content, str) else "".join(part.text for part in self.content)
        return {"role": self.role, "content": content} | ({"name": self.name} if self.name else {})


class ChatBody(GenerationBody):
    """`POST /v1/chat/completions`."""

    messages: Annotated[list[Message], Field(min_length=1, max_length=1000)]
    max_tokens: int | None = Field(default=None, ge=1, lt=2**31)
    max_completion_tokens: int | None = Field(default=None, ge=1, lt=2**31)
    logprobs: bool = False
    top_logprobs: int | None = Field(default=None, ge=0, le=20)


class TokenizeBody(Body):
    """`POST /tokenize`, as vLLM has it."""

    model: str | None = None
    prompt: str


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
