"""A pool's HTTP for the command line: one line for whatever goes wrong."""

from __future__ import annotations

import os
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..sla.errors import BackendReplyError, BackendUnavailableError, ConfigurationError

if TYPE_CHECKING:
    import httpx

TOKEN = "SLARAG_POOL_TOKEN"
URL = "SLARAG_POOL_URL"
DEFAULT_PORT = 8600
_READ_S = 10.0

PoolUrl = Annotated[
    str, typer.Option("--url", envvar=URL, metavar="URL", help="Where the pool serves.", show_envvar=True)
]
DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}"


class PoolClient:
    """Calls to the pool at `url`; use as a context."""

    def __init__(self, url: str) -> None:
        import httpx

        from ..backends.wire.address import Address

        self._url = Address.parse(url).root
        self._client = httpx.Client(base_url=self._url, timeout=_READ_S, trust_env=False)

    def __enter__(self) -> PoolClient:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def pool(self) -> dict[str, Any]:
        """The pool's devices, queue and last resizes."""
        return self._json(self._send("GET", "/pool"))

    def metrics(self) -> str:
        """The pool's counters, as Prometheus reads them."""
        return self._send("GET", "/metrics").text

    def scale(self, devices: int, *, dry_run: bool) -> dict[str, Any]:
        """Resize the pool, or ask what that would do; waits until it is done. Needs the token in the environment."""
        body = {"new_data_parallel_size": devices, "dry_run": dry_run}
        remedy = "" if devices else "start the pool with --may-sleep for that"
        return self._json(
            self._send("POST", "/scale_elastic_ep", remedy=remedy, json=body, headers=_bearer(), timeout=None)
        )

    def resize_status(self) -> dict[str, Any]:
        """The last resize. Needs the token."""
        return self._json(self._send("POST", "/is_scaling_elastic_ep", headers=_bearer()))

    def _send(self, method: str, path: str, *, remedy: str = "", **arguments: Any) -> httpx.Response:
        """The response to a call; `remedy` is what to do where the pool refuses it as one that cannot be."""
        import httpx

        try:
            response = self._client.request(method, path, **arguments)
        except httpx.TimeoutException as error:
            raise BackendUnavailableError(f"the pool at {self._url} does not answer", remedy="try again") from error
        except httpx.HTTPError as error:
            raise BackendUnavailableError(
                f"no pool answers at {self._url}", remedy="start one with `slarag pool serve`, or give its --url"
            ) from error
        if not response.is_success:
            raise self._refusal(response, remedy)
        return response

    def _refusal(self, response: httpx.Response, remedy: str) -> ConfigurationError | BackendUnavailableError:
        if response.status_code == HTTPStatus.UNAUTHORIZED:
            return ConfigurationError(
                f"the pool at {self._url} refuses the token",
                remedy=f"set {TOKEN} to the one that it was started with",
            )
        message = _message(response)
        if response.status_code == HTTPStatus.BAD_REQUEST:
            return ConfigurationError(message, remedy=remedy)
        return BackendUnavailableError(f"the pool at {self._url} answered {response.status_code}: {message}")

    def _json(self, response: httpx.Response) -> dict[str, Any]:
        try:
            body = response.json()
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise BackendReplyError(f"what answers at {self._url} is no pool", remedy="give the pool's --url")
        return body


def _bearer() -> Mapping[str, str]:
    token = os.environ.get(TOKEN, "").strip()
    if not token:
        raise ConfigurationError(
            "a pool is resized with its token only", remedy=f"set {TOKEN} to the one that it was started with"
        )
    if not (token.isascii() and token.isprintable()):
        raise ConfigurationError(f"{TOKEN} holds characters that no token has", remedy="copy it again")
    return {"Authorization": f"Bearer {token}"}


def _message(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return response.reason_phrase or "no reason given"
