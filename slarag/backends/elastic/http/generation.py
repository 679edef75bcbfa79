"""A generative model's paths: completions, chats and tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence as Items
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from ..errors import RequestError
from ..serve.engine import PoolEngine
from ..serve.sequence import GenerationOptions
from .answers import Answer, Kind
from .failures import REFUSALS
from .schemas import ChatBody, CompletionBody, GenerationBody, TokenizeBody


def add_generation(app: FastAPI, engine: PoolEngine, model: str) -> None:
    """Add `/v1/completions`, `/v1/chat/completions` and `/tokenize`. model: the name that clients may give."""

    @app.post("/v1/completions", responses=REFUSALS)
    async def completions(body: CompletionBody, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Go on with one or several prompts."""
        check_model(body.model, model)
        jobs = [
            (prompt, body.options(body.max_tokens, body.logprobs, copy))
            for prompt in await asyncio.to_thread(_prompts, engine, body)
            for copy in range(body.n)
        ]
        return await _answer(engine, "completion", model, jobs, body, request)

    @app.post("/v1/chat/completions", responses=REFUSALS)
    async def chats(body: ChatBody, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Answer a chat."""
        check_model(body.model, model)
        prompt = await asyncio.to_thread(_chat_tokens, engine, body, framed=body.add_special_tokens)
        room = engine.cluster.layout.max_tokens - len(prompt)
        max_tokens = body.max_completion_tokens or body.max_tokens or max(1, room)
        logprobs = (body.top_logprobs or 0) if body.logprobs else None
        jobs = [(prompt, body.options(max_tokens, logprobs, copy)) for copy in range(body.n)]
        return await _answer(engine, "chat", model, jobs, body, request)

    @app.post("/tokenize", responses=REFUSALS)
    async def tokenize(body: TokenizeBody) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """A text or a chat to tokens."""
        check_model(body.model, model)
        tokens = await asyncio.to_thread(_tokenized, engine, body)
        names = [engine.tokenizer.name_of(token) for token in tokens] if body.return_token_strs else None
        return tokenized(tokens, engine.cluster.layout.max_tokens, names)


def tokenized(tokens: list[int], most: int, names: list[str] | None) -> dict[str, Any]:
    """The answer of `/tokenize`, as vLLM has it. most: tokens that the model takes. names: tokens as text."""
    return {"tokens": tokens, "count": len(tokens), "max_model_len": most, "token_strs": names}


def check_model(asked: str | None, served: str) -> None:
    """Raise `RequestError` for a model that is not this pool's."""
    if asked is not None and asked != served:
        raise RequestError(f"model {asked!r} is not served", remedy=f"use {served!r}", param="model")


def _tokenized(engine: PoolEngine, body: TokenizeBody) -> list[int]:
    if (body.prompt is None) == (body.messages is None):
        raise RequestError("either `prompt` or `messages` is tokenized", remedy="give one of them", param="prompt")
    if body.prompt is None:
        return _chat_tokens(engine, body, framed=bool(body.add_special_tokens))
    return engine.tokenizer.encode(body.prompt, framed=body.add_special_tokens is not False)


def _chat_tokens(engine: PoolEngine, body: ChatBody | TokenizeBody, *, framed: bool) -> list[int]:
    messages = [message.to_template() for message in body.messages or ()]
    return engine.tokenizer.encode_chat(messages, begins_answer=body.add_generation_prompt, framed=framed)


def _prompts(engine: PoolEngine, body: CompletionBody) -> list[list[int]]:
    prompt = body.prompt
    if isinstance(prompt, str):
        return [engine.tokenizer.encode(prompt, framed=body.add_special_tokens)]
    if prompt and isinstance(prompt[0], (str, list)):
        return [_prompt_tokens(engine, item, framed=body.add_special_tokens) for item in prompt]
    return [_tokens(prompt)]


def _prompt_tokens(engine: PoolEngine, item: Any, *, framed: bool) -> list[int]:
    return engine.tokenizer.encode(item, framed=framed) if isinstance(item, str) else _tokens(item)


def _tokens(items: Any) -> list[int]:
    return [int(item) for item in items]


async def _answer(
    engine: PoolEngine,
    kind: Kind,
    model: str,
    jobs: Items[tuple[list[int], GenerationOptions]],
    body: GenerationBody,
    request: Request,
) -> Response:
    answer = Answer(engine, kind, model, engine.submit_all(jobs), body.n)
    if body.stream:
        include_usage = body.stream_options is not None and body.stream_options.include_usage
        return StreamingResponse(answer.events(include_usage=include_usage), media_type="text/event-stream")
    return JSONResponse(await answer.whole(request.is_disconnected))
