"""Calls between devices: "run these rows of my workspace through these experts of yours".

A call is a small datagram; the activations stay in the caller's workspace, which its peers have mapped, and the results
are written back there. There is no lockstep: a worker serves its peers' calls while it waits for its own. But calls of
a layer that this worker is about to run itself are run with its own rows, so that weights are read once for both; for a
peer that is a layer behind it waits a moment, at most what running its rows apart would cost.

A call that was sent to a worker that died is sent again to whoever holds the experts now. Three rules keep late writes
out of a workspace: a dead worker is killed and gone before its successor is announced, calls of earlier incarnations of
a caller are dropped, and a call is served once by one incarnation.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ..models.experts import Group, Share
from .device_memory import Workspace

_HEADER = struct.Struct("<BiiQi")
_CALL, _REPLY = 0, 1
_MAX_DATAGRAM = 1 << 18
_INCARNATION_SHIFT = 40
_MOST_WAIT_SECONDS = 0.005


@dataclass(slots=True)
class Peer:
    """Another device.

    incarnation: calls of earlier ones are dropped. served: its last call that was served here. layer: of its last call.
    """

    inbox: socket.socket
    workspace: Workspace
    incarnation: int = 0
    served: int = -1
    layer: int = -1


@dataclass(frozen=True, slots=True)
class _Call:
    device: int
    layer: int
    number: int
    groups: list[Group]


@dataclass(frozen=True, slots=True)
class _Pending:
    peer: int
    layer: int
    groups: tuple[Group, ...]


class Exchange:
    """One device's side of all calls.

    inbox: where datagrams for this device arrive. run_shares(layer, shares) runs rows through this device's experts.
    on_control is called when `control` can be read while this worker waits.
    """

    def __init__(
        self,
        device: int,
        incarnation: int,
        *,
        inbox: socket.socket,
        control: socket.socket,
        run_shares: Callable[[int, Sequence[Share]], None],
        on_control: Callable[[], None],
    ) -> None:
        self.device = device
        self.peers: dict[int, Peer] = {}
        self._inbox = inbox
        self._run_shares = run_shares
        self._calls: list[_Call] = []
        self._run_seconds = 0.0
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

    def wait(self, following: int | None = None) -> None:
        """Serve others until all own calls are answered.

        following: the layer that this device runs next; calls of it are kept, to be run with its own rows. Nobody waits
        for ever: whoever is furthest behind is served by all.
        """
        while self._pending:
            self._collect(None)
            self._serve_all_but(following)

    def pump(self, timeout_ms: int | None) -> None:
        """Handle what has arrived; waits for the first up to `timeout_ms`, None for ever."""
        self._collect(0 if self._calls else timeout_ms)
        self._serve_all_but(None)

    def run(self, layer: int, own: Share, *, after: int | None = None) -> None:
        """Run this device's own share of `layer`, and with it the calls of its peers.

        after: the layer before, if peers that called for that one are worth waiting for.
        """
        if after is not None and own.groups:
            self._await_followers(layer, after)
        started = time.monotonic()
        self._serve(layer, own)
        self._run_seconds = min(time.monotonic() - started, _MOST_WAIT_SECONDS)

    def _await_followers(self, layer: int, after: int) -> None:
        until = time.monotonic() + self._run_seconds
        while any(peer.layer == after for peer in self.peers.values()):
            left = until - time.monotonic()
            if left <= 0:
                return
            # `poll` counts whole milliseconds, which is too long here.
            select.select([self._inbox, self._control_file], [], [], left)
            self.collect(layer)

    def collect(self, layer: int) -> None:
        """Handle what has arrived, but keep the calls that go with this device's own rows of `layer`."""
        self._collect(0)
        self._serve_all_but(layer)

    def _serve_all_but(self, kept: int | None) -> None:
        for layer in {call.layer for call in self._calls} - {kept}:
            self._serve(layer)

    def _collect(self, timeout_ms: int | None) -> None:
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
        peer.incarnation, peer.served, peer.layer = incarnation, -1, -1
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
                flat = struct.unpack_from(f"<{count}i", data, _HEADER.size)
                self.peers[device].layer = layer
                groups = list(zip(flat[::3], flat[1::3], flat[2::3], strict=True))
                self._calls.append(_Call(device, layer, number, groups))

    def _serve(self, layer: int, *own: Share) -> None:
        """Run the calls of `layer`, and this device's own rows with them; answer the calls."""
        calls = [call for call in self._calls if call.layer == layer and self._is_due(call)]
        self._calls = [call for call in self._calls if call.layer != layer]
        spaces = [self.peers[call.device].workspace for call in calls]
        asked = [Share(call.groups, space.sent, space.received) for call, space in zip(calls, spaces, strict=True)]
        self._run_shares(layer, [*own, *asked])
        for call in calls:
            peer = self.peers[call.device]
            peer.served = call.number
            peer.inbox.send(_HEADER.pack(_REPLY, self.device, layer, call.number, 0))

    def _is_due(self, call: _Call) -> bool:
        peer = self.peers.get(call.device)
        return peer is not None and call.number > peer.served and call.number >> _INCARNATION_SHIFT >= peer.incarnation
