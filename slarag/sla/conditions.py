"""Conditions: the state of what serves the models, read at the moment of the question."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """The pool now.

    waiting, running: requests in its queue and on its devices. devices: accelerators that serve, at least 1.
    seconds_per_passage: recent device time of reading one passage; None when nothing has been read yet.
    """

    waiting: int = 0
    running: int = 0
    devices: int = 1
    seconds_per_passage: float | None = None

    def __post_init__(self) -> None:
        if self.waiting < 0 or self.running < 0 or self.devices < 1:
            raise ValueError(f"not a state of a pool: {self!r}")
        if self.seconds_per_passage is not None and not 0 < self.seconds_per_passage < float("inf"):
            raise ValueError(f"seconds_per_passage must be positive and finite, not {self.seconds_per_passage!r}")

    @property
    def ahead(self) -> float:
        """Requests that a new one waits for, per device; 0 while a device is free."""
        return max(0, self.waiting + self.running - self.devices + 1) / self.devices

    def to_dict(self) -> dict[str, int | float | None]:
        """The fields as plain JSON values."""
        return {
            "waiting": self.waiting,
            "running": self.running,
            "devices": self.devices,
            "seconds_per_passage": self.seconds_per_passage,
        }
