"""Copies of hot experts while the pool serves: where routing is uneven, pages are spare, and no resize runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import numpy as np
from numpy.typing import NDArray

from ....sla.errors import SlaragError
from ..balance import unevenness
from ..cluster.cluster import Cluster
from ..cluster.replication import Replication
from .metrics import Metrics
from .resizing import Resizing

_KEPT = 0.5
_LEAST_TOKENS = 32
_WORTH_IT = 1.05
_log = logging.getLogger(__name__)


class HotExperts:
    """Looks at the routing of late. most: copies on a device. counts: tokens by layer and expert since the start.

    Copies are made anew only where that makes the busiest devices less busy by a share that is worth it, for all of
    them are given up first. A resize gives them up, too; the next look makes them again.
    """

    def __init__(
        self,
        cluster: Cluster,
        resizing: Resizing,
        metrics: Metrics,
        counts: Callable[[], Awaitable[NDArray[np.int64]]],
        *,
        most: int,
    ) -> None:
        self._cluster = cluster
        self._resizing = resizing
        self._metrics = metrics
        self._counts = counts
        self._most = most
        self._seen: NDArray[np.int64] | None = None
        self._recent: NDArray[np.float64] | None = None

    async def run(self, interval_s: float) -> None:
        """Look every so often, until cancelled."""
        while True:
            await asyncio.sleep(interval_s)
            try:
                await self.look()
            except SlaragError as error:
                _log.info("hot experts got no copies this time: %s", error)

    async def look(self) -> bool:
        """One look; returns whether copies were made or given up. Raises `ResizeError`, or what a copy fails with."""
        recent = await self._routed()
        if self._resizing.status.is_running or recent.sum() < _LEAST_TOKENS * recent.size:
            return False
        counts: list[list[int]] = recent.astype(np.int64).tolist()
        placement = self._cluster.placement
        wanted = await Replication(self._cluster).plan(counts, self._most)
        now, then = (unevenness(each, counts) for each in (placement, placement.replicated(wanted)))
        if now < _WORTH_IT * then:
            return False
        await self._resizing.rebalance(counts, self._most)
        self._metrics.rebalances += 1
        return True

    async def _routed(self) -> NDArray[np.float64]:
        """Tokens by layer and expert; what came before the last look counts less with each."""
        total = await self._counts()
        new = (total if self._seen is None else total - self._seen).astype(np.float64)
        self._seen = total
        self._recent = new if self._recent is None else _KEPT * self._recent + new
        return self._recent
