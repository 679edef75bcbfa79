"""Paired comparison of two evaluations of the same questions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..sla.errors import DataError
from .columns import in_columns
from .folder import ITEMS, SETTINGS, read_outcomes, read_settings
from .outcome import Failure, Measurement, Outcome
from .paired import McNemar, Paired, mcnemar
from .paired_metrics import Joined, paired_metrics

SCHEMA = 1
_HEAD = ("metric", "in", "n", "A", "B", "B - A", "95 % interval", "p", "detectable")
_UNITS: Mapping[str, tuple[str, float]] = {
    "latency_ms": ("ms", 1.0),
    "latency_p50_ms": ("ms", 1.0),
    "latency_p95_ms": ("ms", 1.0),
    "usd_per_query": ("µ$", 1e6),
    "device_seconds_per_query": ("ms", 1e3),
}
"""The unit in which people read a metric, and how many of it one of the files' units are; the others are shares."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PairedProfiles:
    """Profile `profile_a` of A against `profile_b` of B.

    pairs: questions that both measured; only_a, only_b: that one alone measured; failed_a, failed_b: that failed.
    metrics: by name, None for one that no pair has. wrong_answers: None without an answer key.
    """

    profile_a: str
    profile_b: str
    pairs: int
    only_a: int
    only_b: int
    failed_a: int
    failed_b: int
    metrics: Mapping[str, Paired | None]
    wrong_answers: McNemar | None

    @property
    def f1(self) -> Paired | None:
        """The metric `f1`."""
        return self.metrics["f1"]

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values, with the two F1 scores also beside the other metrics."""
        raw = asdict(self)
        return {**raw, "f1": raw["metrics"]["f1"], "f1_forced": raw["metrics"]["f1_forced"]}


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two evaluation folders side by side."""

    a: str
    b: str
    profiles: tuple[PairedProfiles, ...]

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain JSON values."""
        return {"schema": SCHEMA, "a": self.a, "b": self.b, "profiles": [pair.to_dict() for pair in self.profiles]}

    def table(self) -> str:
        """For people: a line for each metric of each pair of profiles, `-` for what was not measured."""
        return "\n\n".join("\n".join(_lines(pair)) for pair in self.profiles)


def compare(
    a: Path, b: Path, *, profile_a: str | None = None, profile_b: str | None = None, seed: int = 0
) -> Comparison:
    """Compare two evaluation folders (or files in them), joined by question id.

    Profiles of one name are compared with each other; naming two compares those, also within one folder.
    Raises `DataError` when a folder holds no outcomes, the data differ, or nothing is left to pair.
    """
    held_a, held_b = _read(a), _read(b)
    _refuse_other_data(a, b)
    pairs = _profile_pairs(held_a, held_b, profile_a, profile_b)
    if not pairs:
        raise DataError(
            f"{a} (profiles {sorted(held_a)}) and {b} (profiles {sorted(held_b)}) share no profile",
            remedy="name one of each with --profile-a and --profile-b",
        )
    compared = tuple(_pair(one, held_a[one], other, held_b[other], seed) for one, other in pairs)
    return Comparison(a=str(a), b=str(b), profiles=compared)


Outcomes = dict[str, Outcome]


def _read(path: Path) -> dict[str, Outcomes]:
    folder = _folder(path)
    found: dict[str, Outcomes] = {}
    for outcome in read_outcomes(folder):
        found.setdefault(outcome.profile, {})[outcome.item_id] = outcome
    if not found:
        raise DataError(f"{path} holds no outcome in {ITEMS}", remedy="give a folder that `slarag eval --out` wrote")
    return found


def _folder(path: Path) -> Path:
    return path.parent if path.is_file() else path


def _refuse_other_data(a: Path, b: Path) -> None:
    data = [_digest(_folder(path)) for path in (a, b)]
    if None not in data and data[0] != data[1]:
        raise DataError(f"{a} and {b} evaluated different question files", remedy="evaluate both on the same --data")


def _digest(folder: Path) -> str | None:
    return read_settings(folder / SETTINGS).get("data")


def _profile_pairs(
    a: Mapping[str, Outcomes], b: Mapping[str, Outcomes], profile_a: str | None, profile_b: str | None
) -> list[tuple[str, str]]:
    if profile_a is None and profile_b is None:
        shared = [(name, name) for name in a if name in b]
        return shared or ([(*a, *b)] if len(a) == len(b) == 1 else [])  # pyright: ignore[reportReturnType]
    one = profile_a or _only(a) or profile_b or ""
    other = profile_b or _only(b) or profile_a or ""
    for side, name, held in (("A", one, a), ("B", other, b)):
        if name not in held:
            raise DataError(
                f"{side} holds no profile {name!r}", remedy=f"give --profile-{side.lower()} one of {sorted(held)}"
            )
    return [(one, other)]


def _only(held: Mapping[str, Outcomes]) -> str:
    return next(iter(held)) if len(held) == 1 else ""


def _pair(name_a: str, a: Outcomes, name_b: str, b: Outcomes, seed: int) -> PairedProfiles:
    measured_a, measured_b = _measured(a), _measured(b)
    joined = [(measured_a[item], measured_b[item]) for item in measured_a if item in measured_b]
    if not joined:
        raise DataError(
            f"profiles {name_a!r} and {name_b!r} have no question in common",
            remedy="evaluate both with the same --data, --limit and --seed",
        )
    return PairedProfiles(
        profile_a=name_a,
        profile_b=name_b,
        pairs=len(joined),
        only_a=len(measured_a) - len(joined),
        only_b=len(measured_b) - len(joined),
        failed_a=sum(isinstance(outcome, Failure) for outcome in a.values()),
        failed_b=sum(isinstance(outcome, Failure) for outcome in b.values()),
        metrics=paired_metrics(joined, seed=seed),
        wrong_answers=_mcnemar(joined),
    )


def _measured(outcomes: Outcomes) -> dict[str, Measurement]:
    return {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, Measurement)}


def _mcnemar(joined: Joined) -> McNemar | None:
    wrong = [(a.scores.wrong, b.scores.wrong) for a, b in joined]
    return mcnemar([(a, b) for a, b in wrong if a is not None and b is not None])


def _lines(pair: PairedProfiles) -> list[str]:
    name = pair.profile_a if pair.profile_a == pair.profile_b else f"{pair.profile_a} -> {pair.profile_b}"
    lines = [f"{name}: {pair.pairs} questions measured by both ({pair.only_a} by A alone, {pair.only_b} by B alone)"]
    rows = [_row(metric, paired) for metric, paired in pair.metrics.items()]
    lines.append(in_columns([_HEAD, *rows], left=2))
    wrong = pair.wrong_answers
    if wrong is not None:
        lines.append(f"wrong answers: {wrong.only_a} in A alone, {wrong.only_b} in B alone (McNemar p = {wrong.p:.3g})")
    return lines


def _row(metric: str, paired: Paired | None) -> list[str]:
    unit, scale = _UNITS.get(metric, ("%", 100.0))
    if paired is None:
        return [metric, unit, "0", *("-" for _ in _HEAD[3:])]
    difference = paired.difference
    low, high = difference.low or 0.0, difference.high or 0.0
    return [
        metric,
        unit,
        str(difference.n),
        f"{scale * paired.a:.2f}",
        f"{scale * paired.b:.2f}",
        f"{scale * (difference.value or 0.0):+.2f}",
        f"[{scale * low:+.2f}, {scale * high:+.2f}]",
        "-" if paired.p is None else f"{paired.p:.3g}",
        "-" if paired.detectable is None else f"{scale * paired.detectable:.2f}",
    ]
