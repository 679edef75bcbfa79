"""What a pool is asked to do, in device time, and what another number of devices would make of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..cluster.plan import ResizePlan
from .resizing import Resizing


@dataclass(frozen=True, slots=True)
class Demand:
    """Measured work. waiting, running: requests. device_seconds and finished: totals since the start. devices: now."""

    waiting: int
    running: int
    device_seconds: float
    finished: int
    devices: int

    @property
    def seconds_per_request(self) -> float | None:
        """Mean device time of a request; None before the first."""
        return self.device_seconds / self.finished if self.finished else None

    def wait_s(self, devices: int) -> float | None:
        """Time until what waits now has its turn, if `devices` share it; None before the first request."""
        mean = self.seconds_per_request
        return None if mean is None else mean * self.waiting / devices


def predicted_benefit(demand: Demand, plan: ResizePlan, resizing: Resizing) -> dict[str, Any]:
    """What a resize is worth: waits before and after, and how long it takes at the pace of earlier ones.

    None stands for what nothing measured tells yet.
    """
    target = len(plan.placement.devices)
    before, after = demand.wait_s(demand.devices), demand.wait_s(target)
    return {
        "resize_s": _expected_seconds(plan, resizing),
        "capacity_factor": target / demand.devices,
        "wait_s_now": before,
        "wait_s_then": after,
        "wait_s_saved": None if before is None or after is None else before - after,
    }


def _expected_seconds(plan: ResizePlan, resizing: Resizing) -> float | None:
    done = [status for status in resizing.history if status.phase == "completed" and status.seconds]
    if not done:
        return None
    fixed = min(status.seconds for status in done)
    paces = [status.seconds / status.bytes_moved for status in done if status.bytes_moved]
    return max(fixed, plan.bytes_to_move * sum(paces) / len(paces)) if paces else fixed
