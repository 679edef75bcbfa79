"""A worker that reads: question and passage windows in, readings out, over weights in its device's memory.

It needs no peers, so that what a resize tells it about them is answered and forgotten.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from typing import Any

from ...reader.backend import ReadFunction
from ...reader.reading import Reading
from ...reader.windows import Window
from .. import wire
from ..device_layout import SHARED
from ..memory.arena import Region
from ..memory.pages import pages_of
from ..models.reader import reader_over
from .device_memory import map_region


class ReaderWorker:
    """An attached worker's life from the message that attached it to the end."""

    def __init__(self, control: socket.socket, message: wire.Message, files: Sequence[int]) -> None:
        self._control = control
        layout = message["layout"]
        num_bytes, runs = message["regions"][SHARED]
        self._space = map_region(files[0], Region(num_bytes, pages_of(runs)), layout["page_bytes"])
        _close(files)
        self._read = ReadFunction(reader_over(layout, self._space.view), message["threads"])
        self._reply(message, pid=os.getpid())

    def run(self) -> None:
        """Serve until told to stop; raises `EOFError` when the coordinator is gone."""
        while True:
            message, files = wire.receive(self._control)
            _close(files)
            if message["call"] == "step":
                self._reply(message, **self._step(message["windows"]))
            else:
                self._reply(message, epoch=message.get("epoch"))
            if message["call"] == "stop":
                return

    def _step(self, windows: Sequence[Sequence[Any]]) -> dict[str, Any]:
        started = time.monotonic()
        readings = self._read([window_of(fields) for fields in windows])
        return {"readings": [reading_fields(r) for r in readings], "seconds": time.monotonic() - started}

    def _reply(self, message: wire.Message, **fields: Any) -> None:
        wire.send(self._control, {"id": message["id"], **fields})


def window_of(fields: Sequence[Any]) -> Window:
    """The window that [ids, first length, flat offsets, compute budget] states."""
    ids, first_length, flat, budget = fields
    return Window(ids, first_length, list(zip(flat[::2], flat[1::2], strict=True)), budget)


def reading_fields(reading: Reading) -> list[Any]:
    """A reading as plain JSON values: [spans, span log odds, answer logit, support, tokens, share spent]."""
    spans = [[span.start, span.end, span.probability] for span in reading.spans]
    return [spans, reading.span_log_odds, reading.answer_logit, reading.support, reading.tokens, reading.spent]


def _close(files: Sequence[int]) -> None:
    for file in files:
        os.close(file)
