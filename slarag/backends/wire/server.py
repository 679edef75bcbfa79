"""A model server behind an address: requests, keys, and what goes wrong as this package's errors."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from weakref import WeakKeyDictionary

import httpx

from ...sla.errors import (
    BackendReplyError,
    BackendTimeoutError,
    BackendUnavailableError,
    ConfigurationError,
)
from .address import Address
from .body import UnusableBodyError, read_json
from .status import is_passing, retry_after_s

CONNECT_S = 5.0
IDLE_S = 120.0
"""Without a deadline, a server that sends nothing for this long has failed."""
_MOST_SAID_BYTES, _MOST_SAID = 65_536, 200


class Server:
    """HTTP to one server, without retries and without following redirects, which could carry a key elsewhere.

    backend: the name that errors give. api_key_env: the environment variable that holds the key, read at each request;
    None sends none.
    """

    def __init__(self, address: Address, *, backend: str, api_key_env: str | None = None) -> None:
        self.address = address
        self._backend = backend
        self._api_key_env = api_key_env
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()

    def __repr__(self) -> str:
        return f"Server({self.address.root!r}, api_key_env={self._api_key_env!r})"

    @asynccontextmanager
    async def sent(self, method: str, url: str, body: dict[str, Any] | None = None) -> AsyncGenerator[httpx.Response]:
        """An open, successful response to read from.

        Raises:
            BackendTimeoutError: the connection or the server was silent for too long.
            BackendUnavailableError: it refused or cannot be reached; `details` has `status`, `retryable` and, where the
                server said so, `retry_after_s`.
            BackendReplyError: the body cannot be used.
            ConfigurationError: the key is missing.
        """
        headers = self._headers()
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
        try:
            async with self._client().stream(method, url, content=content, headers=headers) as response:
                if not response.is_success:
                    raise self._refusal(response, await _said_in(response))
                yield response
        except httpx.TimeoutException as error:
            raise BackendTimeoutError(f"backend {self._backend!r} timed out", backend=self._backend) from error
        except (UnusableBodyError, httpx.DecodingError) as error:
            raise self._bad_body(error) from error
        except httpx.HTTPError as error:
            raise self._unreachable(error) from error

    async def page(self, path: str, seconds: float) -> str | None:
        """The text at `path` under the root; "" when it cannot be had within `seconds`, None when there is none."""
        try:
            async with asyncio.timeout(seconds):
                response = await self._client().get(f"{self.address.root}/{path}", headers=self._headers())
        except (httpx.HTTPError, TimeoutError):
            return ""
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        return response.text if response.is_success else ""

    async def aclose(self) -> None:
        """Close the connections of this event loop; a later request opens new ones."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def _headers(self) -> dict[str, str]:
        headers = {"content-type": "application/json"}
        if self._api_key_env is not None:
            key = os.environ.get(self._api_key_env, "").strip()
            if not key:
                raise ConfigurationError(
                    f"backend {self._backend!r} finds no key in the environment variable {self._api_key_env!r}",
                    remedy=f"export {self._api_key_env}=...",
                )
            if not (key.isascii() and key.isprintable()):
                raise ConfigurationError(
                    f"the key in the environment variable {self._api_key_env!r} holds characters that no key has",
                    remedy="copy it again",
                )
            headers["authorization"] = f"Bearer {key}"
        return headers

    def _client(self) -> httpx.AsyncClient:
        """One client per event loop: connections belong to the loop that opened them."""
        loop = asyncio.get_running_loop()
        client = self._clients.get(loop)
        if client is None:
            timeout = httpx.Timeout(IDLE_S, connect=CONNECT_S, pool=None)
            limits = httpx.Limits(max_connections=None)
            client = httpx.AsyncClient(
                timeout=timeout,
                limits=limits,
                trust_env=not self.address.is_loopback,
                verify=self.address.is_encrypted,  # certificates take long to load, and plain HTTP needs none
            )
            self._clients[loop] = client
        return client

    def _refusal(self, response: httpx.Response, said: str) -> BackendUnavailableError:
        status = response.status_code
        return BackendUnavailableError(
            f"backend {self._backend!r} refused with HTTP {status}{said}",
            remedy="try later, or add capacity" if is_passing(status) else "check the address, the model and the key",
            backend=self._backend,
            status=status,
            retryable=is_passing(status),
            retry_after_s=retry_after_s(response.headers.get("retry-after")),
        )

    def _bad_body(self, error: Exception) -> BackendReplyError:
        return BackendReplyError(
            f"backend {self._backend!r} sent a body that cannot be used: {error}",
            remedy="check that the address is that of an OpenAI-compatible server",
            backend=self._backend,
        )

    def _unreachable(self, error: Exception) -> BackendUnavailableError:
        return BackendUnavailableError(
            f"backend {self._backend!r} cannot be reached at {self.address.root}: {type(error).__name__}",
            remedy="check that the server runs",
            backend=self._backend,
        )


async def _said_in(response: httpx.Response) -> str:
    """What is wrong with a request, in its server's words; nothing of other refusals, which may repeat a key."""
    if response.status_code not in {httpx.codes.BAD_REQUEST, httpx.codes.UNPROCESSABLE_ENTITY}:
        return ""
    try:
        message = (await read_json(response, _MOST_SAID_BYTES))["error"]["message"]
    except (UnusableBodyError, httpx.HTTPError, LookupError, TypeError):
        return ""
    return f": {str(message)[:_MOST_SAID]}"
