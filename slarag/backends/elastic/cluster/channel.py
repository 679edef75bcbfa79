"""Requests to a worker and their replies, on asyncio."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from .. import wire
from ..errors import WorkerGoneError

_LENGTH = struct.Struct("<I")
_READ_BYTES = 1 << 18


class Channel:
    """One worker's control connection. on_end is called once when it ends, from the event loop."""

    def __init__(self, connection: socket.socket, name: str, on_end: Callable[[], None]) -> None:
        self._connection = connection
        self._name = name
        self._on_end = on_end
        self._loop = asyncio.get_running_loop()
        self._waiting: dict[int, asyncio.Future[wire.Message]] = {}
        self._next_id = 0
        self._received = bytearray()
        self._unsent: deque[tuple[bytes, Sequence[int]]] = deque()
        self.is_open = True
        connection.setblocking(False)
        self._loop.add_reader(connection.fileno(), self._on_readable)

    async def request(self, call: str, files: Sequence[int] = (), **fields: Any) -> wire.Message:
        """Send a message and wait for its reply; raises `WorkerGoneError`. `files` stay the caller's."""
        return await self.post(call, files, **fields)

    def post(self, call: str, files: Sequence[int] = (), **fields: Any) -> asyncio.Future[wire.Message]:
        """The same, but waiting is the caller's: what is posted next arrives after this."""
        if not self.is_open:
            raise WorkerGoneError(f"{self._name} is gone", call=call)
        number = self._next_id
        self._next_id += 1
        future = self._waiting[number] = self._loop.create_future()
        future.add_done_callback(lambda _: self._waiting.pop(number, None))
        self._unsent.append((wire.encode({"id": number, "call": call, **fields}), files))
        self._on_writable()
        return future

    def close(self) -> None:
        """End the connection; requests that wait fail with `WorkerGoneError`."""
        if not self.is_open:
            return
        self.is_open = False
        self._loop.remove_reader(self._connection.fileno())
        self._loop.remove_writer(self._connection.fileno())
        self._connection.close()
        for future in list(self._waiting.values()):
            if not future.done():
                future.set_exception(WorkerGoneError(f"{self._name} is gone"))
        self._on_end()

    def _on_writable(self) -> None:
        try:
            while self._unsent:
                data, files = self._unsent.popleft()
                sent = socket.send_fds(self._connection, [data], files) if files else self._connection.send(data)
                if sent < len(data):
                    self._unsent.appendleft((data[sent:], ()))
        except BlockingIOError:
            self._unsent.appendleft((data, files))  # pyright: ignore[reportPossiblyUnboundVariable]
            self._loop.add_writer(self._connection.fileno(), self._on_writable)
        except OSError:
            self.close()
        else:
            self._loop.remove_writer(self._connection.fileno())

    def _on_readable(self) -> None:
        try:
            data = self._connection.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self._received += data
        while (message := self._next_message()) is not None:
            future = self._waiting.get(message["id"])
            if future is not None and not future.done():
                future.set_result(message)

    def _next_message(self) -> wire.Message | None:
        if len(self._received) < _LENGTH.size:
            return None
        end = _LENGTH.size + _LENGTH.unpack_from(self._received)[0]
        if len(self._received) < end:
            return None
        body = bytes(self._received[_LENGTH.size : end])
        del self._received[:end]
        return json.loads(body)
