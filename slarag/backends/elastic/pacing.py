"""`sim` devices: real workers that take as long for a step as an accelerator would, by `roofline`.

The worker computes the step for real, which must be quicker, and waits for the rest. So a pool wider than this host's
cores behaves like one of accelerators; every figure from it is simulated.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ...sla.errors import DataError
from .models.config import DType, Qwen3MoeConfig
from .roofline import StepWork

_FOLDER = Path(__file__).parent / "devices"
_SUFFIX = ".yaml"


@dataclass(frozen=True, kw_only=True, slots=True)
class DeviceProfile:
    """An accelerator's data sheet. Rates are per second; step_overhead_s is added to each step.

    flops_per_s: dense, in 16 bits, of the units for matrix products. link_bytes_per_s: both directions together.
    """

    name: str
    memory_bytes: float
    flops_per_s: float
    memory_bytes_per_s: float
    link_bytes_per_s: float
    step_overhead_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedDevice:
    """How a pool's devices are simulated.

    time_scale: seconds that pass here for one of the profile's; large enough, and this host keeps up. memory_scale:
    bytes of an arena for one of the profile's, for hosts with less memory than that. stands_for: sizes of the model
    whose work is charged, in bfloat16; None for the served one's.
    """

    profile: DeviceProfile
    time_scale: float = 1.0
    memory_scale: float = 1.0
    stands_for: Qwen3MoeConfig | None = None

    @property
    def capacity_bytes(self) -> int:
        """Of a device's arena."""
        return int(self.profile.memory_bytes * self.memory_scale)

    def charged(self, config: Qwen3MoeConfig, dtype: DType) -> tuple[Qwen3MoeConfig, DType]:
        """The sizes and the data type of the model whose work is charged, where that of `config` is done."""
        return (config, dtype) if self.stands_for is None else (self.stands_for, "bfloat16")

    def to_message(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_message(cls, raw: dict[str, Any]) -> SimulatedDevice:
        """The inverse of `to_message`, after a round trip through JSON."""
        sizes = raw["stands_for"] and Qwen3MoeConfig.from_dict(raw["stands_for"])
        values: dict[str, Any] = raw | {"profile": DeviceProfile(**raw["profile"]), "stands_for": sizes}
        return cls(**values)


def shipped_profiles() -> list[str]:
    """The names that `load_device_profile` knows."""
    return sorted(file.stem for file in _FOLDER.glob(f"*{_SUFFIX}"))


def load_device_profile(name: str) -> DeviceProfile:
    """A shipped profile by its name, or one from a YAML file; raises `DataError`."""
    import yaml

    file = _FOLDER / f"{name}{_SUFFIX}" if name in shipped_profiles() else Path(name)
    try:
        raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        remedy = f"name a YAML file or one of {', '.join(shipped_profiles())}"
        raise DataError(f"cannot read the device profile {name!r}: {error}", remedy=remedy) from error
    return _checked(name, raw)


def _checked(name: str, raw: Any) -> DeviceProfile:
    keys = {field.name for field in fields(DeviceProfile)}
    given: dict[str, Any] = raw if isinstance(raw, dict) else {}
    if set(given) != keys:
        wrong = ", ".join(sorted(keys.symmetric_difference(given)))
        raise DataError(
            f"device profile {name!r}: missing or unknown {wrong}", remedy=f"give {', '.join(sorted(keys))}"
        )
    numbers = {key: value for key, value in given.items() if key != "name"}
    for key, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
            raise DataError(f"device profile {name!r}: {key} is {value!r}", remedy="give a positive number")
    return DeviceProfile(name=str(given["name"]), **{key: float(value) for key, value in numbers.items()})


class Pacer:
    """Makes a worker's steps last as long as the modelled device would need.

    idle waits up to so many milliseconds and does meanwhile what comes. late_s: time by which steps were slower than
    modelled, because this host was.
    """

    def __init__(self, device: SimulatedDevice, idle: Callable[[int], None]) -> None:
        self._device = device
        self._idle = idle
        self.late_s = 0.0

    def wait(self, work: StepWork, *, started: float) -> float:
        """Wait until the step of `work` that began at `started` (`time.monotonic`) is over; returns its seconds."""
        seconds = float(work.seconds_on(self._device.profile)) * self._device.time_scale
        ends = started + seconds
        self.late_s += max(0.0, time.monotonic() - ends)
        while (left := ends - time.monotonic()) > 0:
            self._idle(max(1, round(1000 * left)))
        return time.monotonic() - started
