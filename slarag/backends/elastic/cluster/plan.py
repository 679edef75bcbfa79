"""What a resize will do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import reduce

from ..errors import ResizeError
from ..placement import Move, Placement, fewest_moves, moves_between
from .cluster import Cluster


@dataclass(frozen=True, slots=True)
class ResizePlan:
    """What a resize will do. bytes_to_move: experts that change devices, and the shared weights of new devices.

    start: what the moves begin with; where a device is lost, replicas have taken over what they can.
    """

    start: Placement
    placement: Placement
    joining: tuple[int, ...]
    leaving: tuple[int, ...]
    moves: tuple[Move, ...]
    bytes_to_move: int
    bytes_lower_bound: int


def plan_resize(cluster: Cluster, size: int) -> ResizePlan:
    """The plan with the fewest bytes for `size` devices; raises `ResizeError` for a size that cannot be.

    Devices that are lost leave first, then those that came last.
    """
    most = cluster.layout.max_devices
    if not 1 <= size <= most:
        raise ResizeError(f"a pool of {size} devices cannot be", remedy=f"ask for 1 to {most} devices")
    devices = cluster.placement.devices
    kept = sorted(devices, key=lambda number: cluster.devices[number].is_lost)[:size]
    first_new = 1 + max(devices)
    return _plan(cluster, kept, range(first_new, first_new + size - len(kept)))


def plan_without(cluster: Cluster, lost: int) -> ResizePlan:
    """The plan with the fewest bytes for all devices but one; raises `ResizeError` when it is the last."""
    kept = [number for number in cluster.placement.devices if number != lost]
    if not kept:
        raise ResizeError(f"device {lost} is the last one", remedy="it gets a worker as soon as one can be started")
    return _plan(cluster, kept, ())


def _plan(cluster: Cluster, kept: Sequence[int], joining: Sequence[int]) -> ResizePlan:
    old, layout = cluster.placement, cluster.layout
    lost = [number for number in old.devices if cluster.devices[number].is_lost]
    start = reduce(Placement.without, lost, old)
    devices = (*kept, *joining)
    moves = moves_between(start, start.resized(devices))
    if lost:
        # Until nobody uses them, replicas are where they are: what they are copies of cannot move there.
        moves = tuple(m for m in moves if m.target not in old.replicas.get((m.layer, m.expert), ()))
    shared_bytes = len(joining) * layout.shared_bytes
    return ResizePlan(
        start=start,
        placement=replace(start.after(moves), devices=devices, replicas={}),
        joining=tuple(joining),
        leaving=tuple(number for number in old.devices if number not in kept),
        moves=moves,
        bytes_to_move=len(moves) * layout.expert_bytes + shared_bytes,
        bytes_lower_bound=fewest_moves(start, devices) * layout.expert_bytes + shared_bytes,
    )
