"""What the HTTP asks of a pool, whatever its model."""

from __future__ import annotations

from typing import Protocol

from ..cluster.cluster import Cluster
from ..cluster.plan import ResizePlan
from ..serve.demand import Demand
from ..serve.metrics import Metrics
from ..serve.resizing import ResizeStatus, Resizing


class ServedPool(Protocol):
    """A coordinator: `PoolEngine` or `ReadingEngine`."""

    cluster: Cluster
    metrics: Metrics
    resizing: Resizing
    is_draining: bool

    @property
    def size(self) -> int:
        """Devices that serve."""
        ...

    @property
    def running(self) -> int:
        """Requests that a device works on."""
        ...

    @property
    def waiting(self) -> int:
        """Requests that wait for a device."""
        ...

    @property
    def loads(self) -> dict[int, tuple[int, int]]:
        """Running and waiting by device."""
        ...

    @property
    def cache_used(self) -> float:
        """Share of the KV blocks in use, 0 for a model without."""
        ...

    @property
    def seconds_per_passage(self) -> float | None:
        """Recent device time of reading a passage; None when nothing was read."""
        ...

    @property
    def demand(self) -> Demand:
        """What it is asked to do."""
        ...

    def plan(self, size: int) -> ResizePlan:
        """What a resize to `size` would do; raises `ResizeError`."""
        ...

    async def resize(self, size: int, *, operation_id: str | None = None) -> ResizeStatus:
        """Serve on `size` devices; raises `ResizeError`."""
        ...

    async def aclose(self) -> None:
        """End everything at once."""
        ...
