"""Which device holds which expert, and how a resize changes that with the fewest moves.

In every layer each device holds floor(E / N) or ceil(E / N) of the E experts, so that the work of a layer is even.
Under that rule the plan here moves no expert more than it must: a device gives away what it has above its share, and
nothing else moves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

Owners = dict[int, tuple[int, ...]]
"""By layer with experts: the device of each expert."""
Replicas = dict[tuple[int, int], tuple[int, ...]]
"""By layer and expert: the devices that hold further copies of it."""


@dataclass(frozen=True, slots=True)
class Move:
    """An expert that changes devices."""

    layer: int
    expert: int
    source: int
    target: int


@dataclass(frozen=True, slots=True)
class Placement:
    """A version of who holds what. epoch rises with every change.

    owners: where each expert is; what resizes move. replicas: further copies of some, which resizes give up.
    """

    epoch: int
    devices: tuple[int, ...]
    owners: Owners
    replicas: Replicas = field(default_factory=Replicas)

    @classmethod
    def initial(cls, layers: Sequence[int], num_experts: int, devices: Sequence[int]) -> Placement:
        """Deal the experts of each layer in consecutive shares; the larger shares rotate over the layers."""
        owners = {layer: _deal(num_experts, devices, index) for index, layer in enumerate(layers)}
        return cls(0, tuple(devices), owners)

    def resized(self, devices: Sequence[int]) -> Placement:
        """The next placement, on `devices`, with the fewest moves and without replicas."""
        owners = {layer: _rebalanced(owner, tuple(devices)) for layer, owner in self.owners.items()}
        return Placement(self.epoch + 1, tuple(devices), owners)

    def after(self, moves: Sequence[Move]) -> Placement:
        """The next placement once only `moves` are done; the devices that they lead to belong to it."""
        moved = {(move.layer, move.expert): move.target for move in moves}
        owners = dict(self.owners)
        for layer in {move.layer for move in moves}:
            owners[layer] = tuple(moved.get((layer, e), device) for e, device in enumerate(owners[layer]))
        devices = tuple(dict.fromkeys((*self.devices, *moved.values())))
        return replace(self, epoch=self.epoch + 1, devices=devices, owners=owners)

    def replicated(self, replicas: Replicas) -> Placement:
        """The next placement, with these replicas in place of those there were."""
        return replace(self, epoch=self.epoch + 1, replicas=replicas)

    def without(self, lost: int) -> Placement:
        """The next placement once `lost` holds nothing that another device has a copy of; no replicas are left."""
        owners = dict(self.owners)
        for (layer, expert), copies in self.replicas.items():
            others = [device for device in copies if device != lost]
            if owners[layer][expert] == lost and others:
                owners[layer] = (*owners[layer][:expert], others[0], *owners[layer][expert + 1 :])
        return replace(self, epoch=self.epoch + 1, owners=owners, replicas={})

    def held_by(self, device: int) -> tuple[tuple[int, int], ...]:
        """The (layer, expert) pairs on `device`."""
        return tuple((la, e) for la, owner in self.owners.items() for e, d in enumerate(owner) if d == device)

    def to_message(self) -> dict[str, Any]:
        """As plain JSON values: an expert's device, or a list where it has replicas."""
        owners: dict[str, list[int | list[int]]] = {str(layer): list(owner) for layer, owner in self.owners.items()}
        for (layer, expert), copies in self.replicas.items():
            owners[str(layer)][expert] = [self.owners[layer][expert], *copies]
        return {"epoch": self.epoch, "owners": owners}


def moves_between(old: Placement, new: Placement) -> tuple[Move, ...]:
    """What changes devices from `old` to `new`."""
    return tuple(
        Move(layer, expert, source, target)
        for layer, owner in old.owners.items()
        for expert, (source, target) in enumerate(zip(owner, new.owners[layer], strict=True))
        if source != target
    )


def fewest_moves(old: Placement, devices: Sequence[int]) -> int:
    """Lower bound on the moves of any even placement on `devices`, from the counts alone.

    Moves into a layer's devices are the shares they lack. Shares sum to E, and only E mod N of them may be the larger
    one; giving those to the fullest devices leaves the least to move.
    """
    total = 0
    for owner in old.owners.values():
        small, larger_shares = divmod(len(owner), len(devices))
        held = sorted((sum(d == device for d in owner) for device in devices), reverse=True)
        shares = [small + (index < larger_shares) for index in range(len(devices))]
        total += sum(max(0, share - count) for share, count in zip(shares, held, strict=True))
    return total


def _deal(num_experts: int, devices: Sequence[int], turn: int) -> tuple[int, ...]:
    small, larger_shares = divmod(num_experts, len(devices))
    dealt: list[int] = []
    for index, device in enumerate(devices):
        has_more = (index - turn) % len(devices) < larger_shares
        dealt += [device] * (small + has_more)
    return tuple(dealt)


def _rebalanced(owner: tuple[int, ...], devices: tuple[int, ...]) -> tuple[int, ...]:
    small, larger_shares = divmod(len(owner), len(devices))
    counts = {device: sum(d == device for d in owner) for device in devices}
    fullest = sorted(devices, key=lambda device: (-counts[device], device))
    share = {device: small + (index < larger_shares) for index, device in enumerate(fullest)}
    lacking = [device for device in devices for _ in range(share[device] - counts[device])]
    new = list(owner)
    kept = dict.fromkeys(devices, 0)
    for expert, device in enumerate(owner):
        if device in kept and kept[device] < share[device]:
            kept[device] += 1
        else:
            new[expert] = lacking.pop(0)
    return tuple(new)
