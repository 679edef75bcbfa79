"""Calls to the memory manager from the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Sequence
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

    def release(self, device: int, names: Sequence[str]) -> Awaitable[object]:
        """See `MemoryClient.release`. Calls that are made next come after it, whether it is waited for or not."""
        return self._call("release", device=device, names=list(names))

    def _call(self, call: str, **fields: Any) -> Awaitable[wire.Message]:
        try:
            return asyncio.ensure_future(self._answer(self._channel.post(call, **fields)))
        except WorkerGoneError as error:
            raise MemoryServiceError(error.message, remedy="start the pool again") from error

    async def _answer(self, posted: asyncio.Future[wire.Message]) -> wire.Message:
        try:
            reply = await posted
        except WorkerGoneError as error:
            raise MemoryServiceError(error.message, remedy="start the pool again") from error
        raise_error(reply)
        return reply
