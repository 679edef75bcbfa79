"""A device of the pool: its inbox, and the process that works for it now."""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass, field

from ..device_layout import WORKSPACE
from ..errors import WorkerGoneError
from ..memory.arena import Region
from ..memory.client import Attachment
from .processes import WorkerProcess


@dataclass(slots=True, eq=False)
class Device:
    """What outlives a worker. inbox: receiving end and sending end. incarnation: workers it has had before this one.

    attachment: its arena and the regions that every device has; the file is closed with the device. serving: while its
    worker takes steps. settled: while it serves, or is lost, which means that no worker could be had for it.
    """

    number: int
    attachment: Attachment
    worker: WorkerProcess | None = None
    incarnation: int = 0
    is_lost: bool = False
    serving: asyncio.Event = field(default_factory=asyncio.Event)
    settled: asyncio.Event = field(default_factory=asyncio.Event)
    inbox: tuple[socket.socket, socket.socket] = field(
        default_factory=lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    )

    def start_serving(self) -> None:
        """Its worker takes steps now."""
        self.is_lost = False
        self.serving.set()
        self.settled.set()

    def stop_serving(self) -> None:
        """It has no worker, but may get one."""
        self.serving.clear()
        self.settled.clear()

    def lose(self) -> None:
        """No worker can be had for it."""
        self.is_lost = True
        self.settled.set()

    @property
    def present(self) -> WorkerProcess:
        """Its worker; raises `WorkerGoneError` where it has none."""
        if self.worker is None:
            raise WorkerGoneError(f"device {self.number} has no worker")
        return self.worker

    @property
    def workspace(self) -> Region:
        """The region through which its activations reach others."""
        return self.attachment.regions[WORKSPACE]

    def as_peer(self) -> tuple[dict[str, object], list[int]]:
        """What another worker must know of this device, and the descriptors that go with it."""
        fields: dict[str, object] = {
            "device": self.number,
            "incarnation": self.incarnation,
            "workspace": [self.workspace.num_bytes, self.workspace.runs],
        }
        return fields, [self.attachment.file, self.inbox[1].fileno()]

    def close(self) -> None:
        """Let go of the arena and the inbox; the worker must be gone."""
        os.close(self.attachment.file)
        for end in self.inbox:
            end.close()
