"""Reading a response body that may be too large or never end."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx

MAX_BODY_BYTES = 8 * 1024 * 1024


class UnusableBodyError(ValueError):
    """A body that cannot be used; its text says why."""


async def read_json(response: httpx.Response, limit: int = MAX_BODY_BYTES) -> dict[str, Any]:
    """The body as a JSON object.

    Raises:
        UnusableBodyError: it is larger than `limit` bytes, or no JSON object.
    """
    whole = b"".join([piece async for piece in _bounded(response, limit)])
    return as_object(whole)


async def read_events(response: httpx.Response, limit: int = MAX_BODY_BYTES) -> AsyncIterator[dict[str, Any]]:
    """The data of each server-sent event, until `[DONE]` or the end of the body.

    Raises:
        UnusableBodyError: the stream is longer than `limit` bytes, or an event holds no JSON object.
    """
    async for line in _lines(_bounded(response, limit)):
        data = line[5:].strip() if line.startswith(b"data:") else b""
        if data == b"[DONE]":
            return
        if data:
            yield as_object(data)


def as_object(raw: bytes) -> dict[str, Any]:
    """`raw` as a JSON object; raises `UnusableBodyError` otherwise."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise UnusableBodyError(f"no valid JSON: {raw[:60]!r}") from error
    if not isinstance(value, dict):
        raise UnusableBodyError(f"no JSON object: {raw[:60]!r}")
    return value


async def _bounded(response: httpx.Response, limit: int) -> AsyncIterator[bytes]:
    received = 0
    async for piece in response.aiter_bytes():
        received += len(piece)
        if received > limit:
            raise UnusableBodyError(f"it is longer than {limit} bytes")
        yield piece


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Lines, also the last one without an end; a line in many pieces is put together once."""
    held: list[bytes] = []
    async for piece in pieces:
        first, *more = piece.split(b"\n")
        held.append(first)
        for line in more:
            yield b"".join(held)
            held = [line]
    yield b"".join(held)
