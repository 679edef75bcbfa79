"""Less compute a reading while a pool is short of devices, so that it answers more in time."""

from __future__ import annotations

from dataclasses import dataclass

PATIENCE_S = 0.4
"""Seconds that what waits may take before readings get shorter."""
LEAST = 0.3
"""Under this share a reader's answers are worth little, whatever a request allows."""


@dataclass(slots=True)
class BrownOut:
    """The dial, set anew for every batch: it falls within one batch of a surge and rises with the devices that join.

    patience_s: as `PATIENCE_S`; infinite turns it off. level: the share of each reading's compute that is spent now.
    """

    patience_s: float = PATIENCE_S
    level: float = 1.0

    def observe(self, waiting: int, seconds_in_full: float | None, devices: int) -> None:
        """Set the level for `waiting` windows, each of which takes one of `devices` `seconds_in_full` unshortened."""
        if seconds_in_full is None:
            return
        wait_s = waiting * seconds_in_full / max(1, devices)
        self.level = 1.0 if wait_s <= self.patience_s else max(LEAST, self.patience_s / wait_s)

    def budget(self, wanted: float, floor: float) -> float:
        """The compute budget of a reading that asks for `wanted` and allows `floor`."""
        return max(min(wanted, floor), wanted * self.level)
