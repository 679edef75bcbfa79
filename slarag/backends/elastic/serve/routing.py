"""How many tokens each expert got, over all devices and workers that were."""

from __future__ import annotations

import asyncio

import numpy as np
from numpy.typing import NDArray

from ..cluster.cluster import Cluster
from ..errors import WorkerGoneError


class RoutingCounts:
    """Totals by layer with experts and expert, int64 [layers, experts].

    Workers count; what one has counted since it was last asked is lost with it.
    """

    def __init__(self, cluster: Cluster) -> None:
        config = cluster.layout.config
        self._cluster = cluster
        self._total = np.zeros((len(config.sparse_layers), config.num_experts), np.int64)

    async def read(self) -> NDArray[np.int64]:
        """Ask all workers and return the totals since the pool's start."""
        asked = (self._cluster.tell(device, "routing") for device in list(self._cluster.devices.values()))
        for reply in await asyncio.gather(*asked, return_exceptions=True):
            if isinstance(reply, WorkerGoneError):
                continue
            if isinstance(reply, BaseException):
                raise reply
            self._total += np.asarray(reply["counts"], np.int64).reshape(self._total.shape)
        return self._total.copy()
