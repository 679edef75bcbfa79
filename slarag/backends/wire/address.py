"""The address of a model server."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from ...sla.errors import ConfigurationError

_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Address:
    """root: scheme, host and path without a trailing `/v1`. is_loopback: whether it is this machine."""

    root: str
    is_loopback: bool

    @classmethod
    def parse(cls, base_url: str) -> Address:
        """From a URL with or without its `/v1`; raises `ConfigurationError` for anything but plain http or https."""
        parts = urlsplit(base_url)
        if parts.username or parts.password:
            raise ConfigurationError(
                f"the address of {parts.hostname!r} holds a password", remedy="name a variable in api_key_env instead"
            )
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
            raise ConfigurationError(
                f"{base_url!r} is no server's address", remedy="write it as http://127.0.0.1:8000/v1"
            )
        root = base_url.rstrip("/").removesuffix("/v1")
        return cls(root=root, is_loopback=parts.hostname in _LOOPBACK)

    def api(self, path: str) -> str:
        """The URL of `/v1/<path>`."""
        return f"{self.root}/v1/{path}"
