"""Policies that others use, small, to compare with; each has the one setting that is tuned."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from .holt import Holt
from .observation import Observation, Target


@dataclass(slots=True)
class Static:
    """Always `devices`."""

    devices: int

    def decide(self, seen: Observation) -> Target:
        """See `Policy.decide`."""
        return Target(self.devices)


@dataclass(slots=True)
class QueueThreshold:
    """One more device above a load, one fewer below half of it (as llm-d's workload-variant autoscaler).

    per_device: requests in flight that a device should have; above it one is added, below half of it one is taken.
    """

    per_device: float
    floor: int = 1
    ceiling: int = 64

    def decide(self, seen: Observation) -> Target:
        """See `Policy.decide`."""
        load = (seen.waiting + seen.running) / max(1, seen.devices)
        change = 1 if load > self.per_device else -1 if load < self.per_device / 2 else 0
        return Target(min(self.ceiling, max(self.floor, seen.devices + change)))


@dataclass(slots=True)
class TargetOngoing:
    """ceil(ongoing requests / target) once it has been so for a while (Ray Serve's `target_ongoing_requests`).

    Its delays are Ray Serve's defaults (30 s and 600 s) divided by ten, in favour of it: devices start quickly here.
    """

    target: float
    floor: int = 1
    ceiling: int = 64
    upscale_delay_s: float = 3.0
    downscale_delay_s: float = 60.0
    _wanted: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])

    def decide(self, seen: Observation) -> Target:
        """See `Policy.decide`."""
        wanted = math.ceil((seen.waiting + seen.running) / self.target)
        self._wanted.append((seen.now, min(self.ceiling, max(self.floor, wanted))))
        while self._wanted[0][0] < seen.now - self.downscale_delay_s:
            self._wanted.popleft()
        lately = [value for at, value in self._wanted if at >= seen.now - self.upscale_delay_s]
        if min(lately) > seen.devices:
            return Target(min(lately))
        longest = max(value for _, value in self._wanted)
        return Target(min(longest, seen.devices))


@dataclass(slots=True)
class PredictedRate:
    """ceil(predicted rate / rate of a device), one step at a time (NVIDIA Dynamo's planner).

    rate_per_device: requests per second.
    """

    rate_per_device: float
    floor: int = 1
    ceiling: int = 64
    _forecast: Holt = field(default_factory=Holt)

    def decide(self, seen: Observation) -> Target:
        """See `Policy.decide`."""
        self._forecast.observe(seen.arrivals / seen.interval_s)
        wanted = math.ceil(self._forecast.next / self.rate_per_device)
        step = min(1, max(-1, wanted - seen.devices))
        return Target(min(self.ceiling, max(self.floor, seen.devices + step)))
