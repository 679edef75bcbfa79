"""Whether this host keeps up with the devices that it simulates."""

from __future__ import annotations

from typing import Any

from ..serve.engine import PoolEngine

_LAST_STEP: dict[str, Any] = {"segments": [[-1, 0, [1], 0, [0]]], "sample": [None], "forget": [-1]}
"""One token that nobody asked for; the reply says how late its worker has been so far."""


async def late_share(engine: PoolEngine, *, most: int) -> float | None:
    """Of the time that steps were to take, by how much they took too long. Nobody may ask the pool any more.

    Told by the devices that are there now, as a share of what `most` devices would have them spend: rather too high
    than too low. None where a worker was replaced, which has forgotten what the one before it was late by.
    """
    await engine.drain()
    if engine.cluster.replaced:
        return None
    devices = list(engine.cluster.devices.values())
    late_s = [(await engine.cluster.tell(device, "step", **_LAST_STEP))["late_seconds"] for device in devices]
    return sum(late_s) / max(engine.metrics.device_seconds * len(devices) / most, 1e-9)
