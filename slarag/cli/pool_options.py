"""What a pool is started with, from the command line's words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..backends.pool.observation import PolicyName
from ..sla.errors import ConfigurationError
from .streams import say

if TYPE_CHECKING:
    from ..backends.elastic.cluster.options import PoolOptions
    from ..backends.elastic.http.autoscale import Autoscaler
    from ..backends.elastic.pacing import SimulatedDevice
    from ..backends.pool.service import Objectives

READER = "reader"


def pool_options(model: str, *, kv_blocks: int, device: str | None, time_scale: float, **sizes: Any) -> PoolOptions:
    """The options of a pool for a reader or a Qwen3-MoE folder; raises `ConfigurationError` or `DataError`."""
    options = _options(model, kv_blocks=kv_blocks, **sizes)
    return options if device is None else replace(options, simulated=simulated_device(device, time_scale))


def simulated_device(profile: str, time_scale: float) -> SimulatedDevice:
    """An accelerator by the name of its profile, or by its file; raises `DataError`."""
    from ..backends.elastic.pacing import SimulatedDevice, load_device_profile

    return SimulatedDevice(profile=load_device_profile(profile), time_scale=time_scale)


def autoscaler(policy: PolicyName, sizes: range, devices: int, objectives: Objectives, interval_s: float) -> Autoscaler:
    """What sizes a pool of `devices` at the start; raises `ConfigurationError` where they are not among `sizes`."""
    if devices not in sizes:
        wanted = f"{sizes.start} to {sizes.stop - 1}"
        raise ConfigurationError(
            f"a pool that starts with {devices} devices is not one of {wanted}",
            remedy="change --devices, --min-devices or --max-devices",
        )
    from ..backends.elastic.http.autoscale import Autoscaler, AutoscaleSettings

    settings = AutoscaleSettings(
        policy=policy, floor=sizes.start, ceiling=sizes.stop - 1, objectives=objectives, interval_s=interval_s
    )
    return Autoscaler(settings, say)


def _options(model: str, *, kv_blocks: int, **sizes: Any) -> PoolOptions:
    from ..backends.elastic.cluster.options import PoolOptions
    from ..backends.elastic.cluster.reader_options import ReaderOptions

    folder = Path(model)
    is_embedded = model == READER and not folder.is_dir()
    if sizes.get("hot_expert_copies") and (is_embedded or (folder / "reader.json").is_file()):
        raise ConfigurationError("a reader's experts get no copies", remedy="leave --hot-expert-copies out")
    if is_embedded:
        return ReaderOptions(**sizes)
    if (folder / "reader.json").is_file():
        return ReaderOptions(model=folder, **sizes)
    return PoolOptions(model=folder, kv_blocks=kv_blocks, **sizes)
