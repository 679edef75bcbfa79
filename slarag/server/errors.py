"""Errors as JSON: `{"error": {"code", "message", "remedy"}}` with a status that says whose fault it was."""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ..sla.errors import (
    BackendError,
    BackendTimeoutError,
    BackendUnavailableError,
    BudgetError,
    ConfigurationError,
    SlaragError,
)

_STATUS: tuple[tuple[type[SlaragError], int], ...] = (
    (ConfigurationError, 400),
    (BudgetError, 402),
    (BackendTimeoutError, 504),
    (BackendUnavailableError, 503),
    (BackendError, 502),
)


def install_error_handlers(app: FastAPI) -> None:
    """Give every failure of `app` the one form."""
    app.add_exception_handler(SlaragError, _slarag)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def failure(status: int, code: str, message: str, remedy: str = "") -> JSONResponse:
    """A response in the one form."""
    return JSONResponse({"error": {"code": code, "message": message, "remedy": remedy}}, status_code=status)


def status_of(error: SlaragError) -> int:
    """The HTTP status of an error."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


async def _slarag(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, SlaragError):
        raise error
    return failure(status_of(error), error.code, error.message, error.remedy)


async def _malformed(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return failure(422, "request", f"{where}: {first['msg']}", "see /docs for the fields")


async def _http(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    return failure(error.status_code, "http", str(error.detail))


async def _unexpected(_: Request, error: Exception) -> JSONResponse:
    return failure(500, "unexpected", f"{type(error).__name__} inside the gateway", "its log has the details")
