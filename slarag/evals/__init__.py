"""Evaluation: question files, official metrics with intervals, a resumable runner, paired comparison, calibration.

* `run(settings: EvalSettings, *, engine=None, on_progress=None) -> Report` asks every question of a file under every
  profile and writes `items.jsonl`, `report.json` and `report.html` into `settings.out`; `arun` is its async form.
* `compare(a: Path, b: Path, *, profile_a=None, profile_b=None) -> Comparison` joins two such folders by question.
* `calibrate(settings: CalibrationSettings, *, on_progress=None) -> CalibrationReport` measures every plan of the plan
  space on question files and writes the calibration that the mapper reads; `acalibrate` is its async form.
* `load_dataset(path, *, data_format="auto", corpus=None) -> Dataset` reads a question file.

`Report`, `Comparison` and `CalibrationReport` have `to_dict()` (JSON with `schema`) and `table()` (text for people).
`on_progress` is called as `on_progress(Progress(stage=..., done=..., total=...))`.
Everything loads on first use, so that importing this package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .calibration import CalibrationReport, acalibrate, calibrate
    from .calibration_settings import CalibrationSettings
    from .comparison import Comparison, compare
    from .formats import FORMATS, DataFormat, Dataset, load_dataset
    from .item import EvalItem
    from .report import Report
    from .runner import arun, run
    from .settings import EvalSettings, Progress

_HOMES = {
    "CalibrationReport": "calibration",
    "CalibrationSettings": "calibration_settings",
    "Comparison": "comparison",
    "DataFormat": "formats",
    "Dataset": "formats",
    "EvalItem": "item",
    "EvalSettings": "settings",
    "FORMATS": "formats",
    "Progress": "settings",
    "Report": "report",
    "acalibrate": "calibration",
    "arun": "runner",
    "calibrate": "calibration",
    "compare": "comparison",
    "load_dataset": "formats",
    "run": "runner",
}

__all__ = [
    "FORMATS",
    "CalibrationReport",
    "CalibrationSettings",
    "Comparison",
    "DataFormat",
    "Dataset",
    "EvalItem",
    "EvalSettings",
    "Progress",
    "Report",
    "acalibrate",
    "arun",
    "calibrate",
    "compare",
    "load_dataset",
    "run",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOMES[name]}", __name__), name)
    globals()[name] = value
    return value
