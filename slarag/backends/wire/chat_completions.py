"""The bodies of `/v1/chat/completions`: what is sent and how replies are read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal, TypeGuard

from ..prompted.completion import Completion, Prompt
from ..protocol import Usage
from .body import UnusableBodyError


@dataclass(frozen=True, kw_only=True, slots=True)
class ChatSettings:
    """How the server is asked.

    temperature: None leaves it out, for models that refuse it. max_answer_tokens: limit on replies to answer and verify
    prompts. stream: read the reply as it is written. json_schema: send the reply's schema as `response_format`;
    `connect` then checks that the server heeds it. metrics_timeout_s: how long `load` waits for the server; a
    question waits 0.1 s for a load in all.
    max_tokens_field: what the server calls the limit on a reply; newer models of OpenAI know only the second name.
    """

    temperature: float | None = 0.0
    max_answer_tokens: int = 1024
    stream: bool = False
    json_schema: bool = False
    metrics_timeout_s: float = 0.08
    max_tokens_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"


def request_body(prompt: Prompt, model: str, settings: ChatSettings) -> dict[str, Any]:
    """The JSON body of a request."""
    system = [{"role": "system", "content": prompt.system}] if prompt.system else []
    body: dict[str, Any] = {
        "model": model,
        "messages": [*system, {"role": "user", "content": prompt.user}],
        settings.max_tokens_field: prompt.max_tokens or settings.max_answer_tokens,
        "stream": settings.stream,
    }
    if settings.temperature is not None:
        body["temperature"] = settings.temperature
    if settings.stream:
        body["stream_options"] = {"include_usage": True}
    if settings.json_schema and prompt.schema is not None:
        body["response_format"] = {
            "type": "json_schema",
            "json_schema": {"name": "reply", "schema": prompt.schema, "strict": True},
        }
    return body


def completion_of(body: dict[str, Any]) -> Completion:
    """The reply in a whole body; raises `UnusableBodyError` when there is none."""
    choice = _first_choice(body)
    message = choice.get("message") if choice else None
    text = message.get("content") if isinstance(message, dict) else None
    if choice is None or not isinstance(text, str):
        raise UnusableBodyError("it holds no choices[0].message.content")
    finish = choice.get("finish_reason")
    _refuse_unfinished(finish)
    return Completion(text=text, usage=usage_of(body), truncated=finish == "length")


async def completion_of_events(events: AsyncIterator[dict[str, Any]]) -> Completion:
    """The reply that a stream adds up to; raises `UnusableBodyError` for an error event or a cut stream."""
    pieces: list[str] = []
    finish: object = None
    usage: Usage | None = None
    async for event in events:
        if "error" in event:
            raise UnusableBodyError("the stream ended with an error event")
        usage = usage_of(event) or usage
        choice = _first_choice(event) or {}
        delta = choice.get("delta")
        piece = delta.get("content") if isinstance(delta, dict) else None
        pieces.append(piece if isinstance(piece, str) else "")
        finish = choice.get("finish_reason") or finish
    if finish is None:
        raise UnusableBodyError("the stream ended before the reply did")
    _refuse_unfinished(finish)
    return Completion(text="".join(pieces), usage=usage, truncated=finish == "length")


def _refuse_unfinished(finish: object) -> None:
    """What a server of slarag's kind says of an answer that it could not write to its end."""
    if finish in {"failed", "cancelled"}:
        raise UnusableBodyError(f"the reply ended as {finish}")


def usage_of(body: dict[str, Any]) -> Usage | None:
    """The body's `usage`, with `device_seconds` where a server of slarag's kind adds it; None when not reported."""
    reported = body.get("usage")
    if not isinstance(reported, dict) or not _is_count(reported.get("prompt_tokens")):
        return None
    output, seconds = reported.get("completion_tokens"), reported.get("device_seconds")
    return Usage(
        input_tokens=reported["prompt_tokens"],
        output_tokens=output if _is_count(output) else 0,
        device_seconds=float(seconds) if isinstance(seconds, int | float) and seconds >= 0 else 0.0,
    )


def _first_choice(body: dict[str, Any]) -> dict[str, Any] | None:
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else None


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
