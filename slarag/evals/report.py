"""The report of an evaluation: figures by profile and intent, failures apart, and what they were measured with."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .columns import in_columns
from .formats import Dataset
from .intervals import Figure
from .item import EvalItem
from .machine import machine, versions
from .metrics import figures, wall_seconds
from .outcome import Failure, Measurement, Outcome
from .settings import EvalSettings

SCHEMA = 1

_INTENT_METRICS = ("f1", "f1_forced", "answered_share", "wrong_answer_rate", "recall_at_5", "latency_p50_ms")
_COLUMNS = (
    ("F1", "f1", 100),
    ("forced", "f1_forced", 100),
    ("answered", "answered_share", 100),
    ("wrong", "wrong_answer_rate", 100),
    ("no answer", "no_answer_recall", 100),
    ("recall@5", "recall_at_5", 100),
    ("ECE", "ece", 100),
    ("p50 ms", "latency_p50_ms", 1),
    ("p95 ms", "latency_p95_ms", 1),
    ("attained", "attainment", 100),
    ("good q/s", "goodput_qps", 1),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What `report.json` holds.

    profiles: figures by profile and metric. intents: by profile, intent and metric, as the classifier named it.
    failures: by profile, how many questions failed with each error code; no figure counts them.
    wall_seconds: by profile, how long its questions took.
    """

    data: Mapping[str, Any]
    settings: Mapping[str, Any]
    profiles: Mapping[str, Mapping[str, Figure]]
    intents: Mapping[str, Mapping[str, Mapping[str, Figure]]]
    failures: Mapping[str, Mapping[str, int]]
    wall_seconds: Mapping[str, float]
    machine: Mapping[str, Any] = field(default_factory=machine)
    versions: Mapping[str, str] = field(default_factory=versions)

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {
            "schema": SCHEMA,
            "data": dict(self.data),
            "settings": dict(self.settings),
            "profiles": {name: _plain(values) for name, values in self.profiles.items()},
            "intents": {
                name: {intent: _plain(values) for intent, values in by_intent.items()}
                for name, by_intent in self.intents.items()
            },
            "failures": {name: dict(codes) for name, codes in self.failures.items()},
            "wall_seconds": dict(self.wall_seconds),
            "machine": dict(self.machine),
            "versions": dict(self.versions),
        }

    def table(self) -> str:
        """A line for each profile; shares and scores in per cent, `-` for what was not measured."""
        head = ["profile", "n", "failed", *(title for title, _, _ in _COLUMNS)]
        rows = [
            [name, str(values["answered_share"].n), str(sum(self.failures[name].values())), *_cells(values)]
            for name, values in self.profiles.items()
        ]
        return in_columns([head, *rows])


def make_report(
    dataset: Dataset,
    items: Sequence[EvalItem],
    settings: EvalSettings,
    outcomes: Iterable[Outcome],
    profiles: Sequence[str],
) -> Report:
    """The report over the outcomes of `items`: under `profiles`, and under others that earlier runs left."""
    wanted = {item.item_id for item in items}
    kept = [outcome for outcome in outcomes if outcome.item_id in wanted]
    earlier = [outcome.profile for outcome in kept if outcome.profile not in profiles]
    names = dict.fromkeys([*earlier, *profiles])
    by_profile = {name: [outcome for outcome in kept if outcome.profile == name] for name in names}
    return Report(
        data=_describe_data(dataset, items),
        settings={**describe_settings(settings), "profiles": list(dict.fromkeys([*earlier, *settings.profiles]))},
        profiles={name: _figures(found, settings.seed) for name, found in by_profile.items()},
        intents={name: _by_intent(found, settings.seed) for name, found in by_profile.items()},
        failures={name: _failures(found) for name, found in by_profile.items()},
        wall_seconds={name: wall_seconds([o.timing for o in found]) for name, found in by_profile.items()},
    )


def describe_settings(settings: EvalSettings) -> dict[str, Any]:
    """The settings as plain JSON values."""
    return {
        "mode": settings.mode,
        "profiles": list(settings.profiles),
        "plan": settings.plan.to_dict() if settings.plan else None,
        "index": str(settings.index) if settings.index else None,
        "limit": settings.limit,
        "seed": settings.seed,
        "concurrency": settings.concurrency,
        "warm_up": settings.warm_up,
    }


def _describe_data(dataset: Dataset, items: Sequence[EvalItem]) -> dict[str, Any]:
    return {
        "name": dataset.path.name,
        "format": dataset.format,
        "sha256": dataset.digest,
        "corpus": dataset.corpus_path.name if dataset.corpus_path else None,
        "questions_in_file": len(dataset.items),
        "questions": len(items),
        "answerable": sum(bool(item.answers) for item in items),
        "unanswerable": sum(item.is_impossible for item in items),
        "without_answer_key": sum(not item.has_answer_key for item in items),
    }


def _measured(outcomes: Sequence[Outcome]) -> list[Measurement]:
    return [outcome for outcome in outcomes if isinstance(outcome, Measurement)]


def _figures(outcomes: Sequence[Outcome], seed: int) -> dict[str, Figure]:
    return figures(_measured(outcomes), [outcome.timing for outcome in outcomes], seed=seed)


def _by_intent(outcomes: Sequence[Outcome], seed: int) -> dict[str, dict[str, Figure]]:
    measured = _measured(outcomes)
    tables: dict[str, dict[str, Figure]] = {}
    for intent in sorted({m.intent for m in measured}):
        of_intent = [m for m in measured if m.intent == intent]
        values = figures(of_intent, [m.timing for m in of_intent], seed=seed)
        tables[intent] = {name: values[name] for name in _INTENT_METRICS}
    return tables


def _failures(outcomes: Sequence[Outcome]) -> dict[str, int]:
    return dict(Counter(outcome.code for outcome in outcomes if isinstance(outcome, Failure)))


def _plain(values: Mapping[str, Figure]) -> dict[str, Any]:
    return {name: figure.to_dict() for name, figure in values.items()}


def _cells(values: Mapping[str, Figure]) -> list[str]:
    return [_cell(values[name], scale) for _, name, scale in _COLUMNS]


def _cell(figure: Figure, scale: int) -> str:
    return "-" if figure.value is None else f"{figure.value * scale:.1f}"
