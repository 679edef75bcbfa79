"""What a resize benchmark does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from ..cluster.options import Mechanism, PoolOptions
from ..pacing import SimulatedDevice

Baseline = Literal["horizontal_replica", "extravagant", "colocated"]
BASELINES: tuple[Baseline, ...] = get_args(Baseline)
ABLATION: tuple[Mechanism, ...] = ("page_remap", "peer_copy", "standby", "zero_copy")
"""Taken away one after the other, each with those before it."""
Part = Literal["resize", "no_standby", "simulated", "horizontal_replica", "extravagant", "colocated", "ablation"]
PARTS: tuple[Part, ...] = get_args(Part)
DEVICE = "ascend_910b"
TIME_SCALE = 150.0
"""What the simulated part stands for, and seconds here for one of its, which two cores keep up with."""
QUICK_PARTS: tuple[Part, ...] = ("resize", "no_standby", "simulated")


@dataclass(frozen=True, kw_only=True, slots=True)
class BenchSettings:
    """One benchmark.

    model: a Qwen3-MoE folder. size and target: devices before and after scaling up; scaling down goes back. clients:
    each asks again as soon as it is answered, for answer_tokens tokens. warm_seconds: of load before the first resize.
    kv_blocks: of a device, enough for the clients, so that no run fills more of the cache than another. long_tokens:
    at most, of the answers that run on the leaving device when the pool scales down, and are called off after that.
    repeats: of scaling up and down; the median counts. parts: what to measure beside a cold restart. simulated: an
    accelerator as which the devices of that part behave, where copies do not take the processor away from the model.
    """

    model: Path
    simulated: SimulatedDevice
    size: int = 2
    target: int = 3
    clients: int = 8
    prompt_tokens: int = 32
    answer_tokens: int = 64
    long_tokens: int = 256
    warm_seconds: float = 4.0
    kv_blocks: int = 192
    standbys: int = 1
    repeats: int = 3
    parts: tuple[Part, ...] = PARTS

    def options(self, devices: int) -> PoolOptions:
        """The pool's."""
        return PoolOptions(
            model=self.model,
            devices=devices,
            min_devices=min(self.size, self.target),
            kv_blocks=self.kv_blocks,
            max_batch_tokens=256,
            standbys=self.standbys,
        )

    def as_workload(self) -> dict[str, object]:
        """For the printed document."""
        values = {name: getattr(self, name) for name in self.__slots__}
        simulated = {"device": self.simulated.profile.name, "time_scale": self.simulated.time_scale}
        return {**values, "model": str(self.model), "simulated": simulated}

    def without_standby(self) -> BenchSettings:
        """The same, where a resize forks its workers."""
        return replace(self, standbys=0)
