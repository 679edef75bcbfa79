"""Errors in OpenAI's form: `{"error": {"message", "type", "param", "code"}}`, with a status that says whose fault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from ....sla.errors import BackendTimeoutError
from ..errors import BusyError, ElasticError, RequestError

MAX_RETRY_S = 60


class ErrorDetail(BaseModel):
    """OpenAI's `error`."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """OpenAI's error body."""

    error: ErrorDetail


REFUSALS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "The request is refused; `param` names the field."},
    "5XX": {"model": ErrorBody, "description": "It could not be done."},
}


def failure(status: int, message: str, kind: str, *, param: str | None = None, code: str | None = None) -> JSONResponse:
    """A response in the one form."""
    return JSONResponse({"error": {"message": message, "type": kind, "param": param, "code": code}}, status)


def add_failures(app: FastAPI) -> None:
    """Give every failure of `app` the one form."""
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(RequestError, _unserved)
    app.add_exception_handler(BusyError, _busy)
    app.add_exception_handler(BackendTimeoutError, _late)
    app.add_exception_handler(ElasticError, _failed)
    app.add_exception_handler(HTTPException, _http)


async def _malformed(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    return malformed(error.errors())


def malformed(errors: Sequence[Any]) -> JSONResponse:
    """The refusal of a body, by its first error as pydantic lists them; where it is begins with `body`."""
    first = errors[0]
    if first["type"] == "json_invalid":
        # Where the decoder stopped is no field.
        message = f"the body is not JSON: {first['ctx']['error']} at character {first['loc'][-1]}"
        return failure(400, message, "invalid_request_error", param="body")
    field = ".".join(str(part) for part in first["loc"][1:]) or "body"
    is_unknown = first["type"] == "extra_forbidden"
    message = f"unknown field {field!r}" if is_unknown else f"field {field!r}: {first['msg']}"
    return failure(400, message, "invalid_request_error", param=field)


async def _unserved(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestError)
    param = error.details.get("param")
    return failure(400, str(error), "invalid_request_error", param=None if param is None else str(param))


async def _busy(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BusyError)
    wait = error.details.get("wait_s")
    seconds = min(MAX_RETRY_S, max(1, round(wait))) if isinstance(wait, int | float) else 1
    reply = failure(429, str(error), "overloaded", code=error.code)
    reply.headers["Retry-After"] = str(seconds)
    return reply


async def _late(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, BackendTimeoutError)
    return failure(504, str(error), "deadline", code=error.code)


async def _failed(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ElasticError)
    return failure(503, str(error), "server_error", code=error.code)


async def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    reply = failure(error.status_code, str(error.detail), "invalid_request_error")
    reply.headers.update(error.headers or {})
    return reply
