"""What an HTTP status code says about trying again."""

from __future__ import annotations

from http import HTTPStatus

_PASSING = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.CONFLICT,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    }
)


def is_passing(status: int) -> bool:
    """Whether the same request may succeed later; other 4xx say that the request itself is wrong."""
    return status in _PASSING or status >= HTTPStatus.INTERNAL_SERVER_ERROR


def retry_after_s(header: str | None) -> float | None:
    """The seconds of a `Retry-After` header; None when absent or a date, which clocks that differ make useless."""
    if header is None or not header.strip().isdecimal():
        return None
    return float(header.strip())
