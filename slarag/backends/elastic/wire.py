"""Messages between the pool's processes: JSON with a length in front, and file descriptors beside it.

Everything that speaks here is a process of one pool on one host, connected by an inherited UNIX socket.
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Sequence
from typing import Any, cast

_LENGTH = struct.Struct("<I")
_MAX_DESCRIPTORS = 64
Message = dict[str, Any]


def encode(message: Message) -> bytes:
    """The bytes of a message, its length in front."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return _LENGTH.pack(len(body)) + body


def send(connection: socket.socket, message: Message, files: Sequence[int] = ()) -> None:
    """Send a message and descriptors; blocks until the system has it."""
    data = encode(message)
    sent = socket.send_fds(connection, [data], files) if files else connection.send(data)
    if sent < len(data):
        connection.sendall(data[sent:])


def receive(connection: socket.socket) -> tuple[Message, list[int]]:
    """Wait for a message and its descriptors, which are the caller's to close; raises `EOFError` at the end."""
    header, files = _receive_header(connection)
    try:
        body = _receive_exactly(connection, _LENGTH.unpack(header)[0])
    except BaseException:
        for file in files:
            os.close(file)
        raise
    return cast("Message", json.loads(body)), files


def _receive_header(connection: socket.socket) -> tuple[bytes, list[int]]:
    header, files, _, _ = socket.recv_fds(connection, _LENGTH.size, _MAX_DESCRIPTORS)
    if not header:
        raise EOFError("the other side closed the connection")
    if len(header) < _LENGTH.size:
        header += _receive_exactly(connection, _LENGTH.size - len(header))
    for file in files:
        os.set_inheritable(file, False)
    return header, files


def _receive_exactly(connection: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(min(count - len(parts), 1 << 20))
        if not part:
            raise EOFError("the other side closed the connection inside a message")
        parts += part
    return bytes(parts)
