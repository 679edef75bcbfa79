"""The calibration: what every plan was measured to do, in a file that a person can review."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

from .atomic import write_atomically
from .backoff import PRIOR, Backoff
from .cells import THRESHOLDS, Cell
from .conditions import Conditions
from .confidence import PRIOR as PRIOR_CONFIDENCE
from .confidence import ConfidenceModel
from .errors import ConfigurationError
from .expected_f1 import ExpectedF1, fit_expected_f1
from .intents import IntentPrediction
from .plan import Plan
from .prediction import Prediction

SCHEMA = 1

USD_PER_DEVICE_SECOND = 1.4e-5
"""About 0.05 USD an hour: what clouds ask for one general-purpose virtual core."""

_SHIPPED = Path(__file__).with_name("calibrations") / "default.json"


class CalibrationError(ConfigurationError):
    """A calibration file that cannot be used."""

    code = "calibration"


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Where the figures come from.

    kind: `measured`, or `prior` when nothing was measured. questions, runs: how many. machine: what it was measured on.
    """

    kind: Literal["measured", "prior"]
    description: str
    data: tuple[str, ...] = ()
    machine: str = ""
    questions: int = 0
    runs: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        raw = {name: getattr(self, name) for name in self.__slots__}
        return {**raw, "data": list(self.data)}


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Measured cells, the back-off for the rest, the confidence model, and how good all that was on held-out questions.

    seconds_per_passage: device time of one reading while it was measured; a moment's own over this is its slowdown.
    usd_per_device_second: the rate that predicts the cost. validation: figures on questions not used for the fit.
    """

    source: Source
    seconds_per_passage: float
    usd_per_device_second: float = USD_PER_DEVICE_SECOND
    backoff: Backoff = PRIOR
    cells: tuple[Cell, ...] = ()
    confidence: ConfidenceModel = PRIOR_CONFIDENCE
    validation: Mapping[str, float] = field(default_factory=dict[str, float])

    def __post_init__(self) -> None:
        if not 0 < self.seconds_per_passage < float("inf") or not 0 <= self.usd_per_device_second < float("inf"):
            raise ValueError("a calibration needs a positive reference time and a rate of at least 0")

    @classmethod
    def load(cls, path: Path | None = None) -> Calibration:
        """Read a calibration file, None for the shipped one; raises `CalibrationError`."""
        return _shipped() if path is None else _load(Path(path))

    def save(self, path: Path) -> None:
        """Write the file in one step: a killed run leaves the old file or the new one; raises `StorageError`."""
        write_atomically(Path(path), self.to_json())

    def predict(
        self, plan: Plan, intent: IntentPrediction, conditions: Conditions, *, threshold: float = 0.0
    ) -> Prediction:
        """What `plan` is expected to do; `threshold` is the confidence under which answers are withheld."""
        from .forecast import PlanTable

        table = self._tables.get(plan)
        if table is None:
            table = self._tables[plan] = PlanTable.of((plan,), self)
        return table.forecast(intent, conditions, threshold=threshold).prediction(0)

    @cached_property
    def _tables(self) -> dict[Plan, Any]:
        return {}

    @cached_property
    def expected_f1(self) -> ExpectedF1:
        """What a confidence comes to in F1, by the cells."""
        return fit_expected_f1(self.cells)

    @cached_property
    def by_plan(self) -> dict[str, dict[str, Cell]]:
        """The cells by plan key, then by intent or `any`."""
        found: dict[str, dict[str, Cell]] = {}
        for cell in self.cells:
            found.setdefault(cell.plan, {})[cell.intent] = cell
        return found

    def to_json(self) -> str:
        """The file's text: one cell a line, so that two calibrations can be compared line by line."""
        cells = ",\n".join("    " + json.dumps(cell.to_dict()) for cell in self.cells)
        head = {
            "schema": SCHEMA,
            "source": self.source.to_dict(),
            "seconds_per_passage": self.seconds_per_passage,
            "usd_per_device_second": self.usd_per_device_second,
            "validation": dict(self.validation),
            "confidence": self.confidence.to_dict(),
            "backoff": self.backoff.to_dict(),
            "thresholds": list(THRESHOLDS),
        }
        body = json.dumps(head, indent=1)[:-2]
        return f'{body},\n "cells": [\n{cells}\n ]\n}}\n' if cells else f'{body},\n "cells": []\n}}\n'

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Calibration:
        """A calibration from the parsed file; raises `KeyError`, `TypeError` or `ValueError` when it is not one."""
        if tuple(raw["thresholds"]) != THRESHOLDS:
            raise ValueError("other confidence thresholds than this version's")
        source: dict[str, Any] = {**raw["source"], "data": tuple(raw["source"]["data"])}
        return cls(
            source=Source(**source),
            seconds_per_passage=float(raw["seconds_per_passage"]),
            usd_per_device_second=float(raw["usd_per_device_second"]),
            backoff=Backoff.from_dict(raw["backoff"]),
            cells=tuple(Cell.from_dict(cell) for cell in raw["cells"]),
            confidence=ConfidenceModel.from_dict(raw["confidence"]),
            validation={str(name): float(value) for name, value in raw["validation"].items()},
        )


@cache
def _shipped() -> Calibration:
    return _load(_SHIPPED)


def _load(path: Path) -> Calibration:
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise CalibrationError(f"calibration {str(path)!r} cannot be read: {error.strerror}", remedy=_REMEDY) from None
    except (ValueError, RecursionError):
        raise CalibrationError(f"calibration {str(path)!r} is not JSON", remedy=_REMEDY) from None
    version = raw.get("schema") if isinstance(raw, dict) else None
    if version != SCHEMA:
        raise CalibrationError(f"calibration {str(path)!r} has schema {version!r}, not {SCHEMA}", remedy=_REMEDY)
    try:
        return Calibration.from_dict(raw)
    except (KeyError, TypeError, ValueError) as error:
        raise CalibrationError(f"calibration {str(path)!r} is damaged: {error}", remedy=_REMEDY) from None


_REMEDY = "make one with `slarag calibrate`, or leave it out to use the shipped one"
