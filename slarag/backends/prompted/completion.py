"""What is sent to a language model and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..protocol import Usage


@dataclass(frozen=True, kw_only=True, slots=True)
class Prompt:
    """Two messages, and the JSON Schema that the reply must meet (None: free text).

    max_tokens: a limit on the reply that the caller asked for; None leaves it to the backend.
    """

    user: str
    system: str = ""
    schema: dict[str, Any] | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Completion:
    """The model's reply.

    usage: as the service reported it, None if it did not. truncated: whether the reply ended at its token limit.
    """

    text: str
    usage: Usage | None = None
    truncated: bool = False
