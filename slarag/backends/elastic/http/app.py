"""The FastAPI application over a running pool."""

from __future__ import annotations

import hmac
from collections.abc import Sequence as Items
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse

from ..errors import BusyError, RequestError, ResizeError
from ..serve.engine import PoolEngine
from ..serve.sequence import GenerationOptions, Sequence
from .answers import Answer, Kind
from .schemas import ChatBody, CompletionBody, GenerationBody, ScaleBody, TokenizeBody, error_body

_RETRY_SECONDS = "1"


class _UnauthorizedError(Exception):
    """A control call without the token."""


def build_app(engine: PoolEngine, *, model: str, token: str) -> FastAPI:
    """The application. model: the name that clients may give. token: what control calls must bear."""
    app = FastAPI(title="slarag pool", docs_url=None, redoc_url=None)
    _add_errors(app)
    _add_state(app, engine, model)
    _add_generation(app, engine, model)
    _add_control(app, engine, token)
    return app


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestValidationError)
    async def _(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:]) or "body"
        is_unknown = first["type"] == "extra_forbidden"
        message = f"unknown field {field!r}" if is_unknown else f"field {field!r}: {first['msg']}"
        return JSONResponse(error_body(message, "invalid_request_error", param=field), 400)

    @app.exception_handler(RequestError)
    async def _(_: Request, error: RequestError) -> JSONResponse:
        param = error.details.get("param")
        body = error_body(str(error), "invalid_request_error", param=None if param is None else str(param))
        return JSONResponse(body, 400)

    @app.exception_handler(BusyError)
    async def _(_: Request, error: BusyError) -> JSONResponse:
        return JSONResponse(error_body(str(error), "overloaded", code=error.code), 429, {"Retry-After": _RETRY_SECONDS})

    @app.exception_handler(_UnauthorizedError)
    async def _(_: Request, __: _UnauthorizedError) -> JSONResponse:
        body = error_body("this call needs the pool's bearer token", "authentication_error")
        return JSONResponse(body, 401, {"WWW-Authenticate": "Bearer"})


def _add_state(app: FastAPI, engine: PoolEngine, model: str) -> None:
    @app.get("/health")
    async def _() -> Response:
        return Response(status_code=503 if engine.is_draining else 200)

    @app.get("/load")
    async def _() -> dict[str, Any]:
        return {
            "devices": engine.size,
            "running": engine.running,
            "waiting": engine.waiting,
            "standbys": engine.cluster.standbys,
            "kv_cache_used": engine.cache_used,
            "replaced_workers": engine.cluster.replaced,
        }

    @app.get("/metrics")
    async def _() -> PlainTextResponse:
        gauges = {
            "vllm:num_requests_running": engine.running,
            "vllm:num_requests_waiting": engine.waiting,
            "vllm:kv_cache_usage_perc": engine.cache_used,
            "slarag:devices": engine.size,
            "slarag:standbys": engine.cluster.standbys,
            "slarag:placement_epoch": engine.cluster.placement.epoch,
        }
        return PlainTextResponse(engine.metrics.text(gauges))

    @app.get("/v1/models")
    async def _() -> dict[str, Any]:
        limit = engine.cluster.layout.config.max_positions
        card = {"id": model, "object": "model", "created": 0, "owned_by": "slarag", "max_model_len": limit}
        return {"object": "list", "data": [card]}

    @app.post("/tokenize")
    async def _(body: TokenizeBody) -> dict[str, Any]:
        tokens = engine.tokenizer.encode(body.prompt)
        limit = engine.cluster.layout.config.max_positions
        return {"tokens": tokens, "count": len(tokens), "max_model_len": limit}


def _add_generation(app: FastAPI, engine: PoolEngine, model: str) -> None:
    @app.post("/v1/completions")
    async def _(body: CompletionBody, request: Request) -> Response:
        _check_model(body.model, model)
        jobs = [
            (prompt, body.options(body.max_tokens, body.logprobs, copy))
            for prompt in _prompts(engine, body)
            for copy in range(body.n)
        ]
        return await _answer(engine, "completion", model, jobs, body, request)

    @app.post("/v1/chat/completions")
    async def _(body: ChatBody, request: Request) -> Response:
        _check_model(body.model, model)
        prompt = engine.tokenizer.encode_chat([message.model_dump(exclude_none=True) for message in body.messages])
        layout = engine.cluster.layout
        room = min(layout.config.max_positions, layout.kv_blocks * layout.block_tokens) - len(prompt)
        max_tokens = body.max_completion_tokens or body.max_tokens or max(1, room)
        logprobs = (body.top_logprobs or 0) if body.logprobs else None
        jobs = [(prompt, body.options(max_tokens, logprobs, copy)) for copy in range(body.n)]
        return await _answer(engine, "chat", model, jobs, body, request)


def _add_control(app: FastAPI, engine: PoolEngine, token: str) -> None:
    async def authorized(request: Request) -> None:
        given = request.headers.get("authorization", "").encode()
        if not hmac.compare_digest(given, f"Bearer {token}".encode()):
            raise _UnauthorizedError

    @app.post("/scale_elastic_ep", dependencies=[Depends(authorized)])
    async def _(body: ScaleBody) -> JSONResponse:
        size = body.new_data_parallel_size
        try:
            plan = engine.plan(size)
            if body.dry_run:
                return JSONResponse(
                    {
                        "joining": len(plan.joining),
                        "leaving": len(plan.leaving),
                        "moved_experts": len(plan.moves),
                        "bytes_to_move": plan.bytes_to_move,
                        "bytes_lower_bound": plan.bytes_lower_bound,
                    }
                )
        except ResizeError as error:
            return JSONResponse(error_body(str(error), "invalid_request_error", param="new_data_parallel_size"), 400)
        try:
            await engine.resize(size, operation_id=body.operation_id)
        except ResizeError as error:
            return JSONResponse(error_body(str(error), "resize_failed", code=error.code), 409)
        return JSONResponse({"message": f"Scaled to {size} data parallel engines"})

    @app.post("/is_scaling_elastic_ep", dependencies=[Depends(authorized)])
    async def _() -> dict[str, Any]:
        status = engine.resize_status
        return {
            "is_scaling_elastic_ep": status.phase in {"preparing", "committing"},
            "phase": status.phase,
            "epoch": engine.cluster.placement.epoch,
            "size": engine.size,
            "target": status.target,
            "operation_id": status.operation_id,
            "error": status.error,
            "seconds": status.seconds,
            "bytes_moved": status.bytes_moved,
            "bytes_lower_bound": status.bytes_lower_bound,
        }


def _prompts(engine: PoolEngine, body: CompletionBody) -> list[list[int]]:
    prompt = body.prompt
    if isinstance(prompt, str):
        return [engine.tokenizer.encode(prompt)]
    if prompt and isinstance(prompt[0], (str, list)):
        return [engine.tokenizer.encode(item) if isinstance(item, str) else list(_tokens(item)) for item in prompt]
    return [list(_tokens(prompt))]


def _tokens(items: Any) -> list[int]:
    return [int(item) for item in items]


def _check_model(asked: str | None, served: str) -> None:
    if asked is not None and asked != served:
        raise RequestError(f"model {asked!r} is not served", remedy=f"use {served!r}", param="model")


async def _answer(
    engine: PoolEngine,
    kind: Kind,
    model: str,
    jobs: Items[tuple[list[int], GenerationOptions]],
    body: GenerationBody,
    request: Request,
) -> Response:
    answer = Answer(engine, kind, model, _submit_all(engine, jobs), body.n)
    if body.stream:
        include_usage = body.stream_options is not None and body.stream_options.include_usage
        return StreamingResponse(answer.events(include_usage=include_usage), media_type="text/event-stream")
    return JSONResponse(await answer.whole(request.is_disconnected))


def _submit_all(engine: PoolEngine, jobs: Items[tuple[list[int], GenerationOptions]]) -> list[Sequence]:
    """All or none: when one is refused, those before it are taken back."""
    submitted: list[Sequence] = []
    try:
        for prompt, options in jobs:
            submitted.append(engine.submit(prompt, options))
    except BaseException:
        for sequence in submitted:
            engine.finish(sequence, "cancelled")
        raise
    return submitted
