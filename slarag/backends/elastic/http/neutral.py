"""Settings of OpenAI's and vLLM's clients that are not served. Taken by name, with the value that does nothing only.

Clients send whole sets of defaults. Whoever sends another value gets an error that names the field: a setting that does
nothing is worse than an error.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

Zero = Annotated[float, Field(ge=0, le=0)]
One = Annotated[float, Field(ge=1, le=1)]
Off = Literal[False]


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


class PlainText(Body):
    """The `response_format` that asks for nothing."""

    type: Literal["text"]


class NeutralBody(Body):
    """Settings that are not served, whatever the model."""

    presence_penalty: Zero = 0.0
    frequency_penalty: Zero = 0.0
    repetition_penalty: One = 1.0
    length_penalty: One = 1.0
    min_tokens: Annotated[int, Field(ge=0, le=0)] = 0
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    response_format: PlainText | None = None
    use_beam_search: Off = False
    include_stop_str_in_output: Off = False
    skip_special_tokens: Literal[True] = True
    spaces_between_special_tokens: Literal[True] = True
    truncate_prompt_tokens: None = None
    prompt_logprobs: None = None


class NeutralCompletion(NeutralBody):
    """And those of completions alone. best_of: as many as are wanted, for then nothing is left out."""

    n: int = Field(default=1, ge=1, le=128)
    best_of: int | None = Field(default=None, ge=1, le=128)
    echo: Off = False
    suffix: Annotated[str, Field(max_length=0)] | None = None

    @field_validator("best_of")
    @classmethod
    def _as_many_as_wanted(cls, best_of: int | None, info: ValidationInfo) -> int | None:
        if best_of is not None and best_of != info.data.get("n", best_of):
            raise ValueError("only as many as `n` are made")
        return best_of
