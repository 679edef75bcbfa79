"""Word of experts that have moved, on a connection and in a thread of its own.

A worker that computes handles messages between two layers, which is milliseconds; a resize tells it of dozens of moves,
each of which has to be confirmed before the memory that was left can be used.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
from collections.abc import Callable, Sequence

from .. import wire
from ..memory import libc

Switch = Callable[[Sequence[tuple[int, int, int]], Callable[[], None]], None]
"""Uses experts (layer, expert, device) where they are now, and calls back once nothing uses them where they were."""


class Switches:
    """The worker's end of that connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._sending = threading.Lock()

    def start(self, switch: Switch) -> None:
        """Have every message handled by `switch` until the connection ends."""
        threading.Thread(target=self._run, args=(switch,), daemon=True).start()

    def _run(self, switch: Switch) -> None:
        libc.take_short_turns(True)
        try:
            while True:
                message, _ = wire.receive(self._connection)
                switch(message["moves"], lambda message=message: self._confirm(message))
        except (EOFError, OSError):
            return
        except Exception:
            # Without this thread the pool would wait for ever; without this process it starts another.
            logging.getLogger(__name__).exception("a worker cannot switch")
            os._exit(1)

    def _confirm(self, message: wire.Message) -> None:
        with self._sending:
            wire.send(self._connection, {"id": message["id"]})
