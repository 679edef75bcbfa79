"""A worker that reads: question and passage windows in, readings out, over weights in its device's memory."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from torch import nn

from ...reader.backend import ReadFunction
from ...reader.dynamic import DynamicLayer
from ...reader.experts import RoutedFeedForward
from ...reader.model import Reader
from ...reader.reading import Reading
from ...reader.windows import Window
from .. import wire
from ..models.reader import ReaderLayout, reader_over
from ..models.reader_experts import ReaderExperts, ReaderOperations
from ..pacing import Pacer, SimulatedDevice
from ..reading_cost import ReadingWork
from .attached import Attached, Ready
from .device_memory import DeviceMemory


class ReaderDevice(Attached):
    """An attached worker of a reader. Of its batches it sends the tokens of experts elsewhere to whoever has them."""

    def __init__(
        self,
        message: wire.Message,
        files: list[int],
        *,
        ready: Ready,
        control: socket.socket,
        on_control: Callable[[], None],
    ) -> None:
        super().__init__(message, files, ready=ready, control=control, on_control=on_control)
        layout = ReaderLayout.from_message(message["layout"])
        model = reader_over(layout, self.memory.shared)
        self._spread(model)
        # Nothing is copied out of the device's memory, which may not even be filled yet.
        self._read = ReadFunction(model, message["threads"], low_precision=layout.low_precision, packed=False)
        self._work = ReadingWork(layout)
        simulated = message["simulated"] and SimulatedDevice.from_message(message["simulated"])
        self._pacer = simulated and Pacer(simulated, self.exchange.pump)

    @staticmethod
    def get_ready(message: wire.Message) -> Ready:
        """See `Attached.get_ready`."""
        layout = ReaderLayout.from_message(message["layout"])
        memory = DeviceMemory(layout, private=message["private"], weights_of=ReaderExperts.of)
        return Ready(memory, ReaderOperations(layout.config))

    def run(self, step: wire.Message) -> dict[str, Any]:
        """Read the step's windows; a simulated device takes its own time for it, and serves its peers meanwhile."""
        started = time.monotonic()
        readings = self._read([window_of(fields) for fields in step["windows"]])
        reply: dict[str, Any] = {"readings": [reading_fields(r) for r in readings]}
        if self._pacer:
            windows = [(reading.tokens, reading.spent) for reading in readings]
            work = self._work.of_windows(windows, devices=1 + len(self.exchange.peers))
            return {**reply, "seconds": self._pacer.wait(work, started=started), "late_seconds": self._pacer.late_s}
        return {**reply, "seconds": time.monotonic() - started}

    def _spread(self, model: Reader) -> None:
        """Have the experts of `model` run where they are, and peers served between any two of its products."""
        for index, layer in enumerate(model.encoder.layers):
            if not isinstance(layer, DynamicLayer) or not isinstance(layer.feed_forward, RoutedFeedForward):
                continue
            layer.feed_forward.run_experts = partial(self.experts.run, index)
            for module in layer.modules():
                if isinstance(module, nn.Linear):
                    module.register_forward_hook(self._serve_peers)

    def _serve_peers(self, *_: object) -> None:
        # A layer of a long batch takes tens of milliseconds, which a peer would wait.
        self.exchange.pump(0)


def window_of(fields: Sequence[Any]) -> Window:
    """The window that [ids, first length, flat offsets, compute budget] states."""
    ids, first_length, flat, budget = fields
    return Window(ids, first_length, list(zip(flat[::2], flat[1::2], strict=True)), budget)


def reading_fields(reading: Reading) -> list[Any]:
    """A reading as plain JSON values: [spans, span log odds, answer logit, support, tokens, share spent]."""
    spans = [[span.start, span.end, span.probability] for span in reading.spans]
    return [spans, reading.span_log_odds, reading.answer_logit, reading.support, reading.tokens, reading.spent]
