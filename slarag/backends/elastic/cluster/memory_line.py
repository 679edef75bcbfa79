"""Calls to the memory manager from the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from .. import wire
from ..errors import MemoryServiceError, WorkerGoneError
from ..memory.client import MemoryClient, load_fields, raise_error
from ..memory.manager import Placed
from .channel import Channel


class MemoryLine:
    """A connection of its own. Calls wait in the manager's queue, not in a thread here, and are answered in the order
    in which they were made: with two of them under way the manager goes on without waiting for this process.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    @classmethod
    @asynccontextmanager
    async def opened(cls, client: MemoryClient) -> AsyncGenerator[MemoryLine]:
        """One more connection, closed at the end; what is under way then is still done. Raises `MemoryServiceError`."""
        connection = await asyncio.to_thread(client.connect)
        channel = Channel(connection, "the memory manager", lambda: None)
        try:
            yield cls(channel)
        finally:
            channel.close()

    async def load(self, folder: str, placed: Sequence[Placed], dtype: str) -> None:
        """See `MemoryClient.load`."""
        await self._call("load", **load_fields(folder, placed, dtype))

    async def copy(self, source: int, target: int, names: Sequence[str]) -> int:
        """See `MemoryClient.copy`."""
        return int((await self._call("copy", source=source, target=target, names=list(names)))["bytes"])

    async def release(self, device: int, names: Sequence[str]) -> None:
        """See `MemoryClient.release`."""
        await self._call("release", device=device, names=list(names))

    async def _call(self, call: str, **fields: Any) -> wire.Message:
        try:
            reply = await self._channel.request(call, **fields)
        except WorkerGoneError as error:
            raise MemoryServiceError(error.message, remedy="start the pool again") from error
        raise_error(reply)
        return reply
