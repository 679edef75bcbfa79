"""The worker's process: a standby until it is attached to a device, then that device.

Messages from the coordinator are handled when they arrive, also while this worker waits for its peers; only a step
waits for the step before it. Each message has an `id`, and its reply the same.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from .. import wire
from ..device_layout import DeviceLayout
from ..kernels.native import operations_for
from ..memory.arena import Region
from ..memory.pages import pages_of
from ..models.experts import Share
from ..models.qwen3_moe import Qwen3Moe
from ..pacing import Pacer, SimulatedDevice
from .device_memory import DeviceMemory, Workspace
from .exchange import Exchange, Peer
from .experts import DistributedExperts
from .reader_worker import ReaderWorker
from .routes import owners_of
from .runner import StepRunner

Handler = Callable[[wire.Message, list[int]], None]


class Worker:
    """One process of the pool, on the worker's end of its control connection."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._device: _Device | None = None
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

    def _on_attach(self, message: wire.Message, files: list[int]) -> None:
        torch.set_num_threads(message["threads"])
        if "reader" in message["layout"]:
            ReaderWorker(self._control, message, files).run()
            self._is_stopped = True
            return
        self._device = _Device(message, files, self._control, self._on_control)
        self._reply(message, pid=os.getpid())

    def _on_step(self, message: wire.Message, _: list[int]) -> None:
        self._steps.append(message)

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

    def _on_give_away(self, message: wire.Message, _: list[int]) -> None:
        self._attached.memory.experts.give_away(message["experts"])
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
    def _attached(self) -> _Device:
        if self._device is None:
            raise RuntimeError("a standby got a device's message")
        return self._device


class _Device:
    """Everything of an attached worker."""

    def __init__(
        self, message: wire.Message, files: list[int], control: socket.socket, on_control: Callable[[], None]
    ) -> None:
        layout = DeviceLayout.from_message(message["layout"])
        regions = {name: Region(size, pages_of(runs)) for name, (size, runs) in message["regions"].items()}
        self._layout = layout
        self._file, inbox = files[0], files[1]
        self._operations = operations_for(replace(layout.config, dtype=layout.dtype))
        self.memory = DeviceMemory(layout, self._file, regions, private=message["private"])
        self.exchange = Exchange(
            message["device"],
            message["incarnation"],
            inbox=socket.socket(fileno=inbox),
            control=control,
            run_shares=self._run_shares,
            on_control=on_control,
        )
        if message["incarnation"]:
            # What was sent to a predecessor is sent again by those who still wait for it.
            self.exchange.discard()
        self.take_in(message["experts"])
        for index, peer in enumerate(message["peers"]):
            self.add_peer(peer, files[2 + 2 * index : 4 + 2 * index])
        self.experts = DistributedExperts(self.exchange, self.memory, self._operations)
        self.experts.place(owners_of(message["owners"]), (), lambda: None)
        model = Qwen3Moe(self._operations, self.memory.weights(), self.experts, threads=message["threads"])
        self._runner = StepRunner(model, self.memory.cache())
        simulated = message["simulated"] and SimulatedDevice.from_message(message["simulated"])
        self._pacer = simulated and Pacer(simulated, layout.config, layout.dtype, self.exchange.pump)

    def run(self, step: wire.Message) -> dict[str, Any]:
        """Run a step; a simulated device takes its own time for it, and serves its peers meanwhile."""
        started = time.monotonic()
        reply = self._runner.run(step)
        if self._pacer:
            segments = [(fields[1], len(fields[2])) for fields in step["segments"]]
            reply["seconds"] = self._pacer.wait(segments, started=started, devices=1 + len(self.exchange.peers))
            reply["late_seconds"] = self._pacer.late_s
        return reply

    def _run_shares(self, layer: int, shares: Sequence[Share]) -> None:
        self._operations.run_shares(self.memory.experts.weights[layer], shares)

    def take_in(self, experts: Sequence[tuple[int, int, list[tuple[int, int]]]]) -> None:
        """Map experts (layer, expert, page runs) of this device's arena."""
        self.memory.experts.take_in(self._file, experts)

    def add_peer(self, peer: dict[str, Any], files: Sequence[int]) -> None:
        """Know another device: its arena and the sending end of its inbox."""
        size, runs = peer["workspace"]
        workspace = Workspace(self._layout, files[0], Region(size, pages_of(runs)))
        os.close(files[0])
        inbox = socket.socket(fileno=files[1])
        self.exchange.peers[peer["device"]] = Peer(inbox, workspace, peer["incarnation"])

    def drop_peer(self, device: int) -> None:
        """Forget another device, which nobody calls any more; one that was never known is fine."""
        peer = self.exchange.peers.pop(device, None)
        if peer is not None:
            peer.inbox.close()
            peer.workspace.close()
