"""What stands before every handler: the control plane's token, and a bound on what one request may hold."""

from __future__ import annotations

import asyncio
import hmac

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .failures import failure

MAX_BODY_BYTES = 16_000_000
MAX_BODY_PAUSE_S = 30.0
CONTROL_PATHS = frozenset({"/scale_elastic_ep", "/is_scaling_elastic_ep"})


class Guard:
    """Refuses control calls without the token before anything of them is read, and bodies that are too large.

    token: what control calls must bear; None refuses them all.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        self._app = app
        self._expected = None if token is None else token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on if it may go on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if scope["path"].rstrip("/") in CONTROL_PATHS and not self._bears_token(headers):
            reply = failure(401, "this call needs the pool's bearer token", "authentication_error")
            reply.headers["WWW-Authenticate"] = "Bearer"
            await reply(scope, receive, send)
        elif _stated_length(headers) > MAX_BODY_BYTES:
            await failure(413, f"the body is over {MAX_BODY_BYTES} bytes", "invalid_request_error")(
                scope, receive, send
            )
        else:
            await self._within_bounds(scope, receive, send)

    async def _within_bounds(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A body that is over its bounds is refused here where the application does not do it."""
        try:
            await self._app(scope, _bounded(receive), send)
        except HTTPException as error:
            await failure(error.status_code, str(error.detail), "invalid_request_error")(scope, receive, send)

    def _bears_token(self, headers: dict[bytes, bytes]) -> bool:
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if self._expected is None or scheme.lower() != b"bearer":  # a scheme's case says nothing (RFC 9110, 11.1)
            return False
        return hmac.compare_digest(given.strip(b" "), self._expected)


def _stated_length(headers: dict[bytes, bytes]) -> int:
    stated = headers.get(b"content-length", b"0")
    return int(stated) if stated.isdigit() else 0


def _bounded(receive: Receive) -> Receive:
    """A body that does not state its length is cut off where it is too long, and one that does not come is given up."""
    received, is_whole = 0, False

    async def bounded() -> Message:
        nonlocal received, is_whole
        try:
            async with asyncio.timeout(None if is_whole else MAX_BODY_PAUSE_S):
                message = await receive()
        except TimeoutError:
            raise HTTPException(408, f"nothing of the body came for {MAX_BODY_PAUSE_S:g} s") from None
        received += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if received > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is over {MAX_BODY_BYTES} bytes")
        return message

    return bounded
