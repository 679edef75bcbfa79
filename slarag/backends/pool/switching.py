"""What resizes take, learnt from those that a pool makes while it serves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from .observation import Switch
from .service import ServiceModel

LEARNT_SHARE = 0.3
"""How far one resize moves what is believed: six in a row leave an eighth of what was believed before."""


def relearnt(model: ServiceModel, switches: Iterable[Switch]) -> ServiceModel:
    """`model` whose `scale_up_s` and `scale_down_s` have moved towards what `switches` took, in their order.

    Only resizes between two sizes that serve count, and only those that had a standby for each device: what a boot adds
    is `boot_s`.
    """
    for switch in switches:
        if not (switch.source and switch.target) or switch.source == switch.target:
            continue
        if switch.target < switch.source:
            model = replace(model, scale_down_s=_moved(model.scale_down_s, switch.seconds))
        elif switch.standbys is None or switch.target - switch.source <= switch.standbys:
            model = replace(model, scale_up_s=_moved(model.scale_up_s, switch.seconds))
    return model


def _moved(mean: float, value: float) -> float:
    return mean + LEARNT_SHARE * (value - mean)
