"""What a reader's quality costs: F1, time and FLOPs under compute budgets, and beside other readers.

    python bench/depth.py --data FILE [--limit N] [--reader FOLDER] [--also NAME=FOLDER ...] [--json]

FILE holds question rows in the form of the reader's training data (`context`, `question`, `answers`, `is_impossible`).
Every batch is read by each reader under each budget in turn. `f1_budget_B` is over all questions with the threshold of
the reader, `f1_forced_budget_B` the best span on the answerable ones, `f1_lost_budget_B` what the budget costs question
by question, `seconds_budget_B` for 1,000 questions, `flops_budget_B` the share of the full FLOPs really spent,
`time_ratio_B` the time over that of the full budget. `NAME_...` are the same of the readers given with --also, and
`gain_over_NAME_B` is our F1 less theirs question by question, where theirs, if it has no budget, is read in full.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from _common import Figure, document, show

from slarag.backends.reader.backend import ReadFunction
from slarag.backends.reader.dynamic_encoder import DynamicEncoder
from slarag.backends.reader.reading import Reading, merge_windows
from slarag.backends.reader.store import SHIPPED_MOE, ReaderSettings, load_reader
from slarag.backends.training.evaluation import score_reading, window_batches
from slarag.backends.training.sources import Row, read_rows
from slarag.evals.intervals import Figure as Interval
from slarag.evals.intervals import mean, statistic

BUDGETS = (1.0, 0.8, 0.6, 0.4)


@dataclass
class _Curve:
    """What one budget of one reader came to: readings by question, seconds by batch, (share, tokens) by window."""

    parts: list[list[Reading]]
    seconds: list[float] = field(default_factory=list)
    spent: list[tuple[float, int]] = field(default_factory=list)
    f1: list[float] = field(default_factory=list)
    forced: list[float] = field(default_factory=list)

    def score(self, rows: Sequence[Row], settings: ReaderSettings) -> None:
        """F1 question by question."""
        for row, part in zip(rows, self.parts, strict=True):
            scores = score_reading([row], [merge_windows(part)], settings)
            self.f1.append(100 * scores.f1)
            if scores.answerable:
                self.forced.append(100 * scores.f1_forced)

    def flops(self) -> float:
        """The share of the full FLOPs, by tokens."""
        return sum(share * count for share, count in self.spent) / sum(count for _, count in self.spent)


@dataclass
class _Subject:
    """A reader that is measured. prefix: of its figures' names."""

    prefix: str
    settings: ReaderSettings
    read: ReadFunction
    curves: dict[float, _Curve]

    def at(self, budget: float) -> _Curve:
        """The curve of `budget`; of a reader without budgets the only one."""
        return self.curves.get(budget, self.curves[max(self.curves)])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="question rows, JSON Lines")
    parser.add_argument("--limit", type=int, help="questions, drawn by --seed; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", type=Path, default=SHIPPED_MOE, help="default: the mixture that ships")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=FOLDER", help="another reader beside it")
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS, help="the first is what others are over")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    rows = _drawn(list(read_rows(options.data)), options.limit, options.seed)
    named = [("", options.reader), *(_named(entry, parser) for entry in options.also)]
    subjects = [_subject(prefix, folder, len(rows), options) for prefix, folder in named]
    _read(subjects, [(row["question"], row["context"]) for row in rows])
    for subject in subjects:
        for curve in subject.curves.values():
            curve.score(rows, subject.settings)
    workload = {"data": options.data.name, "questions": len(rows), "threads": options.threads}
    show(document(workload, _figures(subjects)), as_json=options.json)


def _named(entry: str, parser: argparse.ArgumentParser) -> tuple[str, Path]:
    name, _, folder = entry.partition("=")
    if not name or not folder:
        parser.error(f"--also {entry!r} is not NAME=FOLDER")
    return f"{name}_", Path(folder)


def _drawn(rows: list[Row], limit: int | None, seed: int) -> list[Row]:
    return rows if limit is None or limit >= len(rows) else random.Random(seed).sample(rows, limit)


def _subject(prefix: str, folder: Path, questions: int, options: argparse.Namespace) -> _Subject:
    model, settings = load_reader(folder)
    dials = isinstance(model.encoder, DynamicEncoder) and model.encoder.config.skip != "none"
    budgets = tuple(options.budgets) if dials else (1.0,)
    curves = {budget: _Curve([[] for _ in range(questions)]) for budget in budgets}
    return _Subject(prefix, settings, ReadFunction(model, options.threads), curves)


def _read(subjects: Sequence[_Subject], pairs: list[tuple[str, str]]) -> None:
    batches = list(window_batches(pairs))
    turns = [(subject, budget) for subject in subjects for budget in subject.curves]
    for subject in subjects:
        subject.read([window for _, window in batches[0]])
    for done, batch in enumerate(batches):
        _say(f"\rbatch {done + 1} of {len(batches)}")
        # Whoever goes first after another batch finds colder caches, so they take turns.
        first = done % len(turns)
        for subject, budget in [*turns[first:], *turns[:first]]:
            curve, windows = subject.curves[budget], [replace(window, budget=budget) for _, window in batch]
            began = time.perf_counter()
            readings = subject.read(windows)
            curve.seconds.append(time.perf_counter() - began)
            for (index, _), reading in zip(batch, readings, strict=True):
                curve.parts[index].append(reading)
                curve.spent.append((reading.spent, reading.tokens))
    _say("\n")


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(text, end="", file=sys.stderr, flush=True)


def _figures(subjects: Sequence[_Subject]) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for subject in subjects:
        full = next(iter(subject.curves.values()))
        for budget, curve in subject.curves.items():
            figures |= {f"{subject.prefix}{name}_{budget:g}": one for name, one in _of(curve, full).items()}
    ours = subjects[0]
    for other in subjects[1:]:
        for budget, curve in ours.curves.items():
            theirs = other.at(budget)
            figures[f"gain_over_{other.prefix}{budget:g}"] = _figure(mean(_less(curve.f1, theirs.f1)), "F1")
            figures[f"time_over_{other.prefix}{budget:g}"] = _figure(_ratio(curve, theirs), "ratio")
    return figures


def _of(curve: _Curve, full: _Curve) -> dict[str, Figure]:
    questions = len(curve.f1)
    share, seconds = curve.flops(), 1000 * sum(curve.seconds) / questions
    return {
        "f1_budget": _figure(mean(curve.f1), "F1"),
        "f1_forced_budget": _figure(mean(curve.forced), "F1"),
        "f1_lost_budget": _figure(mean(_less(full.f1, curve.f1)), "F1"),
        "seconds_budget": _figure(Interval(value=seconds, low=seconds, high=seconds, n=questions), "s per 1,000"),
        "time_ratio": _figure(_ratio(curve, full), "ratio"),
        "flops_budget": _figure(Interval(value=share, low=share, high=share, n=questions), "share"),
    }


def _less(ones: Sequence[float], others: Sequence[float]) -> list[float]:
    return [one - other for one, other in zip(ones, others, strict=True)]


def _ratio(curve: _Curve, other: _Curve) -> Interval:
    ours, theirs = np.array(curve.seconds), np.array(other.seconds)
    return statistic(len(ours), lambda drawn: float(ours[drawn].sum() / theirs[drawn].sum()))


def _figure(found: Interval, unit: str) -> Figure:
    return {**found.to_dict(), "unit": unit}


if __name__ == "__main__":
    main()
