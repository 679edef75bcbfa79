"""Cells: what was measured of one plan on the questions of one intent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from .intents import INTENTS, Intent

THRESHOLDS: tuple[float, ...] = tuple(step / 10 for step in range(10))
"""The confidences at which a cell says how many answers would be given, and how many of them wrong."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """Measured figures of plan `plan` on `n` questions of `intent`, or of all intents for `any`.

    f1: mean token F1 of the best answers, given or not; f1_se: its standard error. given, wrong: for each of
    `THRESHOLDS` the share of the questions that got an answer with at least this confidence, and that got a wrong
    one. latency_p50_ms, latency_p95_ms: wall time. device_seconds, device_seconds_p95: mean and 95th percentile per
    question.
    """

    plan: str
    intent: Intent | Literal["any"]
    n: int
    f1: float
    f1_se: float
    given: tuple[float, ...]
    wrong: tuple[float, ...]
    latency_p50_ms: float
    latency_p95_ms: float
    device_seconds: float
    device_seconds_p95: float

    def __post_init__(self) -> None:
        if self.intent != "any" and self.intent not in INTENTS:
            raise ValueError(f"unknown intent {self.intent!r}")
        if self.n < 1 or len(self.given) != len(THRESHOLDS) or len(self.wrong) != len(THRESHOLDS):
            raise ValueError(f"cell {self.plan}/{self.intent} is not whole")

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values, rounded to what the measurement can carry."""
        raw = {name: getattr(self, name) for name in self.__slots__}
        return {name: _rounded(value) for name, value in raw.items()}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Cell:
        """A cell from `to_dict`'s result."""
        fields: dict[str, Any] = {**raw, "given": tuple(raw["given"]), "wrong": tuple(raw["wrong"])}
        return cls(**fields)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, tuple):
        return [float(f"{item:.5g}") for item in value]
    return value
