"""What a resize costs where pages cannot be remapped: a device's experts are one piece of memory that cannot grow, so
that they are all copied into another piece when one of them comes or goes. Only for measuring what remapping is worth.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ..device_layout import expert_region
from ..placement import Move
from .cluster import Cluster


class Rebuilding:
    """The experts that stay where they are on devices that `moves` change, copied there; the old ones stay as well."""

    def __init__(self, cluster: Cluster, moves: Sequence[Move]) -> None:
        self._cluster = cluster
        gone = {(move.layer, move.expert) for move in moves}
        changed = {number for move in moves for number in (move.source, move.target)}
        held = {number: cluster.placement.held_by(number) for number in changed}
        self._kept = {number: [pair for pair in pairs if pair not in gone] for number, pairs in held.items()}

    async def run(self) -> None:
        """Copy them, and have the workers use the copies."""
        for number, pairs in self._kept.items():
            names = [expert_region(*pair) for pair in pairs]
            made = await asyncio.to_thread(self._cluster.memory.client.renew, number, names)
            experts = [[*pair, made[name].runs] for pair, name in zip(pairs, names, strict=True)]
            await self._cluster.inform([self._cluster.devices[number]], "take_in", experts=experts)

    async def release(self) -> None:
        """Give the old ones back."""
        for number, pairs in self._kept.items():
            names = [f"{expert_region(*pair)}.old" for pair in pairs]
            await asyncio.to_thread(self._cluster.memory.client.release, number, names)
