"""The address of a model server."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from ...sla.errors import ConfigurationError

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Address:
    """root: scheme, host and path without a trailing `/v1`. is_loopback: this machine. is_encrypted: https."""

    root: str
    is_loopback: bool
    is_encrypted: bool

    @classmethod
    def parse(cls, base_url: str) -> Address:
        """From a URL with or without its `/v1`; raises `ConfigurationError` for anything but plain http or https."""
        if "@" in base_url:
            raise ConfigurationError(
                "the server's address holds a user name or password", remedy="name a variable in api_key_env instead"
            )
        if not _is_plain(base_url):
            raise ConfigurationError(
                f"{base_url!r} is no server's address", remedy="write it as http://127.0.0.1:8000/v1"
            )
        parts = urlsplit(base_url)
        return cls(
            root=base_url.rstrip("/").removesuffix("/v1"),
            is_loopback=parts.hostname in _LOOPBACK,
            is_encrypted=parts.scheme == "https",
        )

    def api(self, path: str) -> str:
        """The URL of `/v1/<path>`."""
        return f"{self.root}/v1/{path}"


def _is_plain(base_url: str) -> bool:
    try:
        parts = urlsplit(base_url)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:  # an unclosed bracket, or a port that is none
        return False
    return has_host and parts.scheme in {"http", "https"} and not parts.query and not parts.fragment
