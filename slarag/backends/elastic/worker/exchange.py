"""Calls between devices: "run these rows of my workspace through these experts of yours".

A call is a small datagram; the activations stay in the caller's workspace, which its peers have mapped, and the results
are written back there. There is no lockstep: a worker serves its peers' calls while it waits for its own. A call that
was sent to a worker that died is sent again to whoever holds the experts now. Three rules keep late writes out of a
workspace: a dead worker is killed and gone before its successor is announced, calls of earlier incarnations of a caller
are dropped, and a call is served once by one incarnation.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor

from ..models.experts import Group
from .device_memory import Workspace

_HEADER = struct.Struct("<BiiQi")
_CALL, _REPLY = 0, 1
_MAX_DATAGRAM = 1 << 18
_INCARNATION_SHIFT = 40


@dataclass(slots=True)
class Peer:
    """Another device. incarnation: calls of earlier ones are dropped. served: its last call that was served here."""

    inbox: socket.socket
    workspace: Workspace
    incarnation: int = 0
    served: int = -1


@dataclass(frozen=True, slots=True)
class _Pending:
    peer: int
    layer: int
    groups: tuple[Group, ...]


class Exchange:
    """One device's side of all calls.

    inbox: where datagrams for this device arrive. run_groups(layer, groups, rows, out) runs rows through this device's
    experts. on_control is called when `control` can be read while this worker waits.
    """

    def __init__(
        self,
        device: int,
        incarnation: int,
        *,
        inbox: socket.socket,
        control: socket.socket,
        run_groups: Callable[[int, Sequence[Group], Tensor, Tensor], None],
        on_control: Callable[[], None],
    ) -> None:
        self.device = device
        self.peers: dict[int, Peer] = {}
        self._inbox = inbox
        self.run_groups = run_groups
        self._pending: dict[int, _Pending] = {}
        self._next_call = incarnation << _INCARNATION_SHIFT
        self._on_control = on_control
        self._control_file = control.fileno()
        self._poll = select.poll()
        self._poll.register(self._control_file, select.POLLIN)
        self._poll.register(inbox.fileno(), select.POLLIN)

    @property
    def is_waiting(self) -> bool:
        """Whether a call of this worker is out."""
        return bool(self._pending)

    def call(self, peer: int, layer: int, groups: Sequence[Group]) -> None:
        """Ask `peer` to run rows of this device's workspace; `wait` returns once they are there."""
        number = self._next_call
        self._next_call += 1
        self._pending[number] = _Pending(peer, layer, tuple(groups))
        self._post(number)

    def wait(self) -> None:
        """Serve others until all own calls are answered."""
        while self._pending:
            self.pump(None)

    def pump(self, timeout_ms: int | None) -> None:
        """Handle what has arrived; waits for the first up to `timeout_ms`, None for ever."""
        for file, _ in self._poll.poll(timeout_ms):
            if file == self._control_file:
                self._on_control()
            else:
                self._drain()

    def discard(self) -> None:
        """Throw away what has arrived."""
        with contextlib.suppress(BlockingIOError):
            while True:
                self._inbox.recv(_MAX_DATAGRAM, socket.MSG_DONTWAIT)

    def peer_restarted(self, device: int, incarnation: int) -> None:
        """A successor serves `device` now: forget its predecessor, and repeat what that left unanswered."""
        self._drain()
        peer = self.peers.get(device)
        if peer is None:
            return
        peer.incarnation, peer.served = incarnation, -1
        for number, pending in list(self._pending.items()):
            if pending.peer == device:
                self._post(number)

    def reroute(self, gone: int, dispatch: Callable[[int, Sequence[Group]], None]) -> None:
        """Hand what `gone` left unanswered to `dispatch`, by layer, once more."""
        self._drain()
        left = {number: pending for number, pending in self._pending.items() if pending.peer == gone}
        for number, pending in left.items():
            dispatch(pending.layer, pending.groups)
            del self._pending[number]

    def _post(self, number: int) -> None:
        pending = self._pending[number]
        flat = [value for group in pending.groups for value in group]
        header = _HEADER.pack(_CALL, self.device, pending.layer, number, len(flat))
        self.peers[pending.peer].inbox.send(header + struct.pack(f"<{len(flat)}i", *flat))

    def _drain(self) -> None:
        while True:
            try:
                data = self._inbox.recv(_MAX_DATAGRAM, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            kind, device, layer, number, count = _HEADER.unpack_from(data)
            if kind == _REPLY:
                self._pending.pop(number, None)
            elif device in self.peers:
                self._serve(device, layer, number, struct.unpack_from(f"<{count}i", data, _HEADER.size))

    def _serve(self, device: int, layer: int, number: int, flat: Sequence[int]) -> None:
        peer = self.peers[device]
        if number <= peer.served or number >> _INCARNATION_SHIFT < peer.incarnation:
            return
        groups = list(zip(flat[::3], flat[1::3], flat[2::3], strict=True))
        self.run_groups(layer, groups, peer.workspace.sent, peer.workspace.received)
        peer.served = number
        peer.inbox.send(_HEADER.pack(_REPLY, self.device, layer, number, 0))
