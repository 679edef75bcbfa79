"""Word of experts that come, switch devices and go, on a connection and in a thread of its own.

A worker that computes handles messages between two layers, which is milliseconds; a resize tells it of dozens of
chunks, each of which has to be confirmed before the memory that was left can be used.
"""

from __future__ import annotations

import logging
import os
import socket
import threading

from .. import wire
from ..memory import libc
from .attached import Attached


class Movements:
    """The worker's end of that connection."""

    def __init__(self, connection: socket.socket, device: Attached) -> None:
        self._connection = connection
        self._device = device
        self._sending = threading.Lock()

    def start(self) -> None:
        """Handle every message until the connection ends."""
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        libc.take_short_turns(True)
        try:
            while True:
                message, _ = wire.receive(self._connection)
                getattr(self, f"_on_{message['call']}")(message)
        except (EOFError, OSError):
            return
        except Exception:
            # Without this thread the pool would wait for ever; without this process it starts another.
            logging.getLogger(__name__).exception("a worker has lost its experts")
            os._exit(1)

    def _on_take_in(self, message: wire.Message) -> None:
        self._device.take_in(message["experts"])
        self._confirm(message)

    def _on_switch(self, message: wire.Message) -> None:
        self._device.experts.switch(message["moves"], lambda: self._confirm(message))

    def _on_give_away(self, message: wire.Message) -> None:
        self._device.memory.experts.give_away(message["experts"])
        self._confirm(message)

    def _confirm(self, message: wire.Message) -> None:
        """From either thread: what is under way is confirmed by the one that runs it."""
        with self._sending:
            wire.send(self._connection, {"id": message["id"]})
