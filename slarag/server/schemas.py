"""What callers send."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

MAX_QUESTION_CHARACTERS = 100_000
"""A first bound on a request; the engine's own on a question is lower and gives the error."""


class QuestionRequest(BaseModel):
    """A question, and under which of the shipped profiles; the gateway's own by default."""

    model_config = ConfigDict(extra="forbid")

    question: Annotated[str, Field(max_length=MAX_QUESTION_CHARACTERS)]
    profile: str | None = None


class AskRequest(QuestionRequest):
    """A question to be answered. plan: runs whatever the mapper would choose."""

    plan: dict[str, Any] | None = None
