"""Further copies of hot experts on spare pages: they come and go as experts that move do, while the pool serves."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence

from ....sla.errors import SlaragError
from ..balance import hot_replicas
from ..device_layout import expert_region
from ..placement import Replicas
from .cluster import Cluster

Copy = tuple[int, int, int]
"""Layer, expert, device."""


class Replication:
    """Changes the replicas of a cluster. Nothing else may change its placement meanwhile."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    async def balance(self, counts: Sequence[Sequence[int]], most: int) -> Replicas:
        """Replace all replicas by those that `counts` (tokens by layer and expert) ask for, at most `most` a device.

        Raises `DeviceMemoryError` or `WorkerGoneError`; the pool serves without any replica then.
        """
        replicas = await self.plan(counts, most)
        await self.drop()
        await self._make(replicas)
        return replicas

    async def plan(self, counts: Sequence[Sequence[int]], most: int) -> Replicas:
        """The replicas that `counts` ask for, at most `most` on a device; what there are now leave their pages."""
        held = Counter(device for _, _, device in copies_of(self._cluster.placement.replicas))
        spare = {number: min(most, room + held[number]) for number, room in (await self._room()).items()}
        return hot_replicas(self._cluster.placement, counts, spare)

    async def drop(self) -> None:
        """Give all replicas up."""
        copies = copies_of(self._cluster.placement.replicas)
        if copies:
            self._cluster.placement = self._cluster.placement.replicated({})
            await self._cluster.place()
            await self.free(copies)

    async def free(self, copies: Iterable[Copy]) -> None:
        """Give the memory of copies back that no worker uses."""
        for layer, expert, number in copies:
            device = self._cluster.devices[number]
            await self._cluster.give_away(device, [(layer, expert)])
            await asyncio.to_thread(self._cluster.memory.client.release, number, [expert_region(layer, expert)])

    async def _make(self, replicas: Replicas) -> None:
        made: list[Copy] = []
        try:
            async with self._cluster.changing:
                for copy in copies_of(replicas):
                    await self._copy(copy, made)
        except (SlaragError, OSError):
            await self.free(made)
            raise
        self._cluster.placement = self._cluster.placement.replicated(replicas)
        await self._cluster.place()

    async def _copy(self, copy: Copy, made: list[Copy]) -> None:
        layer, expert, number = copy
        client, source = self._cluster.memory.client, self._cluster.placement.owners[layer][expert]
        sizes = self._cluster.layout.expert_sizes([(layer, expert)])
        (region,) = (await asyncio.to_thread(client.allocate, number, sizes)).values()
        made.append(copy)
        await asyncio.to_thread(client.copy, source, number, list(sizes))
        await self._cluster.take_in(self._cluster.devices[number], [(layer, expert, region.runs)])

    async def _room(self) -> dict[int, int]:
        """For how many experts each device has pages."""
        usage = await asyncio.to_thread(self._cluster.memory.client.usage)
        page, expert = self._cluster.layout.page_bytes, self._cluster.layout.expert_bytes
        held_bytes = -(-expert // page) * page
        return {int(n): (device["capacity"] - device["used"]) // held_bytes for n, device in usage["devices"].items()}


def copies_of(replicas: Replicas) -> list[Copy]:
    """The replicas one by one."""
    return [(layer, expert, device) for (layer, expert), devices in replicas.items() for device in devices]
