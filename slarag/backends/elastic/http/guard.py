"""What stands before every handler: the control plane's token, and a bound on what one request may hold."""

from __future__ import annotations

import hmac

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .failures import failure

MAX_BODY_BYTES = 16_000_000
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
            await self._app(scope, _bounded(receive), send)

    def _bears_token(self, headers: dict[bytes, bytes]) -> bool:
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if self._expected is None or scheme.lower() != b"bearer":  # a scheme's case says nothing (RFC 9110, 11.1)
            return False
        return hmac.compare_digest(given.strip(b" "), self._expected)


def _stated_length(headers: dict[bytes, bytes]) -> int:
    stated = headers.get(b"content-length", b"0")
    return int(stated) if stated.isdigit() else 0


def _bounded(receive: Receive) -> Receive:
    """A body that does not state its length is cut off where it is too long."""
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise HTTPException(413, f"the body is over {MAX_BODY_BYTES} bytes")
        return message

    return bounded
