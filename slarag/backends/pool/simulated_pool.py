"""The simulator as a pool to drive: the same policy and controller, on a clock of its own."""

from __future__ import annotations

from collections.abc import Sequence

from ...sla.errors import BackendUnavailableError
from .observation import Observation, Target
from .service import Objectives, ServiceModel
from .simulator import ResizeKind, Simulator
from .trace import Arrival


class SimulatedPool:
    """A pool that is replayed a trace; a `PoolDriver`. Everything that it says is simulated.

    Each look at it lets `interval_s` of its own time pass, also when the trace is over. devices and standbys: at the
    start. resize: whether it serves while it switches.
    """

    def __init__(
        self,
        model: ServiceModel,
        trace: Sequence[Arrival],
        *,
        objectives: Objectives | None = None,
        devices: int = 1,
        standbys: int = 1,
        interval_s: float = 5.0,
        resize: ResizeKind = "live",
    ) -> None:
        self._simulator = Simulator(
            model,
            objectives or Objectives(),
            trace,
            devices=devices,
            standbys=standbys,
            interval_s=interval_s,
            resize=resize,
        )

    async def observe(self) -> Observation:
        """See `PoolDriver.observe`."""
        self._simulator.advance()
        return self._simulator.observe()

    async def scale(self, target: Target) -> None:
        """See `PoolDriver.scale`; a resize that runs is not interrupted, and the call is then refused."""
        if self._simulator.is_resizing:
            raise BackendUnavailableError("a resize is running", remedy="ask again when it is done")
        self._simulator.apply(target)

    async def aclose(self) -> None:
        """See `PoolDriver.aclose`; there is nothing to let go of."""
