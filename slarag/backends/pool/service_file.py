"""A device's measured figures in a file, so that what one pool was measured to do is simulated elsewhere."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, cast

from ...sla.atomic import write_atomically
from ...sla.errors import DataError
from .service import ServiceModel, StepSample

SCHEMA = 1
_PROMPTS, _ANSWERS, _DEVICES = (16, 64, 256), (1, 4, 16), (1, 4)
_COUNTS = frozenset({"max_batch_tokens", "max_sequences"})
_SWITCHING = frozenset({"scale_up_s", "scale_down_s", "boot_s", "cold_start_s"})
_SLOWEST = 1e-6
_FIGURES = tuple(field.name for field in fields(ServiceModel) if field.name != "cost")


def to_figures(model: ServiceModel) -> dict[str, float]:
    """The figures of a model; one whose steps something else says the cost of is fitted to that."""
    plain = asdict(replace(model if model.cost is None else _fitted(model), cost=None))
    return {name: plain[name] for name in _FIGURES}


def from_figures(figures: Mapping[str, Any]) -> ServiceModel:
    """The model of such figures; raises `DataError` for one that is missing, unknown or no such number."""
    odd = sorted(set(figures) ^ set(_FIGURES))
    if odd:
        what = "does not know" if odd[0] in figures else "lacks"
        raise DataError(f"a service model {what} {odd[0]!r}", remedy="write one with --save-model")
    for name, value in figures.items():
        _check(name, value)
    return ServiceModel(**dict(figures))


def save_service_model(model: ServiceModel, file: Path) -> None:
    """Write a model's figures; raises `StorageError`."""
    write_atomically(file, json.dumps({"schema": SCHEMA, "service_model": to_figures(model)}, indent=2) + "\n")


def load_service_model(file: Path) -> ServiceModel:
    """Read what `save_service_model` wrote; raises `DataError`."""
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        if document["schema"] != SCHEMA:
            raise DataError(f"{str(file)!r} is of schema {document['schema']!r}", remedy=f"schema {SCHEMA} is read")
        figures: dict[str, Any] = dict(document["service_model"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        remedy = "give a file that `slarag pool simulate --save-model` wrote"
        raise DataError(f"cannot read a service model from {str(file)!r}: {error}", remedy=remedy) from error
    return from_figures(figures)


def _check(name: str, value: object) -> None:
    kind = int if name in _COUNTS else int | float
    is_number = isinstance(value, kind) and not isinstance(value, bool)
    least = 1 if name in _COUNTS else _SLOWEST if name == "prefill_tokens_per_s" else 0
    if not is_number or not least <= cast("float", value) < math.inf:
        raise DataError(f"{name} of a service model cannot be {value!r}", remedy=f"give a number of at least {least}")


def _fitted(model: ServiceModel) -> ServiceModel:
    rest = {name: getattr(model, name) for name in _FIGURES if name in _COUNTS | _SWITCHING}
    mixes = [*((p, 0) for p in _PROMPTS), *((0, a) for a in _ANSWERS), *itertools.product(_PROMPTS, _ANSWERS)]
    samples = [
        StepSample(prompts, answers, float(model.step_seconds(prompts, answers, devices)), devices)
        for (prompts, answers), devices in itertools.product(mixes, _DEVICES)
    ]
    return ServiceModel.fit(samples, **rest)
