"""What a worker has once it is attached to a device: its memory, its peers, and the experts of all."""

from __future__ import annotations

import os
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .. import wire
from ..memory.arena import Region
from ..memory.pages import pages_of
from ..models.experts import Share
from ..models.operations import Operations
from .device_memory import DeviceMemory, Workspace
from .exchange import Exchange, Peer
from .experts import DistributedExperts
from .routes import owners_of


@dataclass(frozen=True, slots=True)
class Ready:
    """What a worker can have before it has a device."""

    memory: DeviceMemory
    operations: Operations


class Attached(ABC):
    """An attached worker, from the message that attached it and the descriptors beside that.

    ready: what `get_ready` made. on_control is called when `control` can be read while it waits for its peers.
    """

    @staticmethod
    @abstractmethod
    def get_ready(message: wire.Message) -> Ready:
        """Make what needs no device, from what every worker of the pool is told."""

    def __init__(
        self,
        message: wire.Message,
        files: Sequence[int],
        *,
        ready: Ready,
        control: socket.socket,
        on_control: Callable[[], None],
    ) -> None:
        self.memory = ready.memory
        self.memory.map(files[0], _regions_of(message))
        self._file = files[0]
        self._operations = ready.operations
        self.exchange = Exchange(
            message["device"],
            message["incarnation"],
            inbox=socket.socket(fileno=files[1]),
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
        self.experts = DistributedExperts(self.exchange, ready.memory, ready.operations)
        self.experts.place(owners_of(message["owners"]), (), lambda: None)

    @abstractmethod
    def run(self, step: wire.Message) -> dict[str, Any]:
        """Run a step and return its reply."""

    def take_in(self, experts: Sequence[tuple[int, int, list[tuple[int, int]]]]) -> None:
        """Map experts (layer, expert, page runs) of this device's arena."""
        self.memory.experts.take_in(self._file, experts)

    def add_peer(self, peer: dict[str, Any], files: Sequence[int]) -> None:
        """Know another device: its arena and the sending end of its inbox."""
        size, runs = peer["workspace"]
        workspace = Workspace(self.memory.layout)
        workspace.map(files[0], Region(size, pages_of(runs)))
        os.close(files[0])
        inbox = socket.socket(fileno=files[1])
        self.exchange.peers[peer["device"]] = Peer(inbox, workspace, peer["incarnation"])

    def drop_peer(self, device: int) -> None:
        """Forget another device, which nobody calls any more; one that was never known is fine."""
        peer = self.exchange.peers.pop(device, None)
        if peer is not None:
            peer.inbox.close()
            peer.workspace.close()

    def _run_shares(self, layer: int, shares: Sequence[Share]) -> None:
        self._operations.run_shares(self.memory.experts.weights[layer], shares)


def _regions_of(message: wire.Message) -> Mapping[str, Region]:
    """The regions that the message which attaches a worker states."""
    return {name: Region(size, pages_of(runs)) for name, (size, runs) in message["regions"].items()}
