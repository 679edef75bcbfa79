"""The worker's process: a standby until it is attached to a device, then that device.

Messages from the coordinator are handled when they arrive, also while this worker waits for its peers; only a step
waits for the step before it. Each message has an `id`, and its reply the same. What it hears of experts that move
comes apart, see `movements`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from .. import wire
from ..device_layout import DeviceLayout
from ..kernels.native import operations_for
from ..memory import libc
from ..models.qwen3_moe import Qwen3Moe
from ..pacing import Pacer, SimulatedDevice
from ..roofline import step_work
from .attached import Attached, Ready
from .device_memory import DeviceMemory
from .movements import Movements
from .reader_worker import ReaderDevice
from .routes import owners_of
from .runner import StepRunner

Handler = Callable[[wire.Message, list[int]], None]


class Worker:
    """One process of the pool, on the worker's end of its control connection."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._ready: Ready | None = None
        self._device: Attached | None = None
        self._steps: list[wire.Message] = []
        self._is_stopped = False

    def run(self) -> None:
        """Serve until told to stop or the coordinator is gone."""
        with torch.inference_mode(), contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):
            while not self._is_stopped:
                self._serve_once()

    def _serve_once(self) -> None:
        if self._device is None:
            self._on_control()
        elif self._steps:
            step = self._steps.pop(0)
            self._reply(step, **self._device.run(step))
        else:
            self._device.exchange.pump(None)

    def _on_control(self) -> None:
        message, files = wire.receive(self._control)
        handler: Handler = getattr(self, f"_on_{message['call']}")
        handler(message, files)

    def _reply(self, message: wire.Message, **fields: Any) -> None:
        wire.send(self._control, {"id": message["id"], **fields})

    def _on_get_ready(self, message: wire.Message, _: list[int]) -> None:
        self._ready = _kind_of(message).get_ready(message)
        # It waits, and is waited for, until it has a device.
        libc.take_short_turns(True)
        self._reply(message)

    def _on_attach(self, message: wire.Message, files: list[int]) -> None:
        torch.set_num_threads(message["threads"])
        device = _kind_of(message)
        ready = self._ready or device.get_ready(message)
        movements = socket.socket(fileno=files.pop())
        self._device = device(message, files, ready=ready, control=self._control, on_control=self._on_control)
        Movements(movements, self._device).start()
        libc.take_short_turns(False)
        self._reply(message, pid=os.getpid())

    def _on_step(self, message: wire.Message, _: list[int]) -> None:
        self._steps.append(message)

    def _on_recall(self, message: wire.Message, _: list[int]) -> None:
        """Forget the steps that have not begun; they get no reply."""
        recalled = len(self._steps)
        self._steps.clear()
        self._reply(message, steps=recalled)

    def _on_add_peer(self, message: wire.Message, files: list[int]) -> None:
        self._attached.add_peer(message["peer"], files)
        self._reply(message)

    def _on_peer_restarted(self, message: wire.Message, _: list[int]) -> None:
        self._attached.exchange.peer_restarted(message["device"], message["incarnation"])
        self._reply(message)

    def _on_drop_peer(self, message: wire.Message, _: list[int]) -> None:
        self._attached.drop_peer(message["device"])
        self._reply(message)

    def _on_take_in(self, message: wire.Message, _: list[int]) -> None:
        self._attached.take_in(message["experts"])
        self._reply(message)

    def _on_place(self, message: wire.Message, _: list[int]) -> None:
        owners = owners_of(message["owners"])
        self._attached.experts.place(owners, message["gone"], lambda: self._reply(message, epoch=message["epoch"]))

    def _on_routing(self, message: wire.Message, _: list[int]) -> None:
        self._reply(message, counts=self._attached.experts.take_counts())

    def _on_stop(self, message: wire.Message, _: list[int]) -> None:
        self._is_stopped = True
        self._reply(message)

    @property
    def _attached(self) -> Attached:
        if self._device is None:
            raise RuntimeError("a standby got a device's message")
        return self._device


class _Device(Attached):
    """An attached worker of a model that generates."""

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
        layout = ready.memory.layout
        model = Qwen3Moe(ready.operations, ready.memory.weights(), self.experts, threads=message["threads"])
        self._runner = StepRunner(model, ready.memory.cache())
        simulated = message["simulated"] and SimulatedDevice.from_message(message["simulated"])
        self._pacer = simulated and Pacer(simulated, self.exchange.pump)
        self._charged = simulated.charged(layout.config, layout.dtype) if simulated else (layout.config, layout.dtype)

    @staticmethod
    def get_ready(message: wire.Message) -> Ready:
        """See `Attached.get_ready`."""
        layout = DeviceLayout.from_message(message["layout"])
        operations = operations_for(replace(layout.config, dtype=layout.dtype))
        return Ready(DeviceMemory(layout, private=message["private"]), operations)

    def run(self, step: wire.Message) -> dict[str, Any]:
        """Run a step; a simulated device takes its own time for it, and serves its peers meanwhile."""
        started = time.monotonic()
        reply = self._runner.run(step)
        if self._pacer:
            segments = [(fields[1], len(fields[2])) for fields in step["segments"]]
            config, dtype = self._charged
            work = step_work(config, dtype, segments, devices=1 + len(self.exchange.peers))
            reply["seconds"] = self._pacer.wait(work, started=started)
            reply["late_seconds"] = self._pacer.late_s
        return reply


def _kind_of(message: wire.Message) -> type[_Device | ReaderDevice]:
    return ReaderDevice if "head" in message["layout"] else _Device
