"""Several things at the same time, none of which is left running."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable


async def together(*work: Awaitable[object]) -> None:
    """Wait for all of it, also where some fails; raises the first error then."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException):
            raise result
