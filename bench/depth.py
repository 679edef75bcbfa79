"""What a reader's quality costs: F1, time and FLOPs under compute budgets, and beside other readers.

    python bench/depth.py --data FILE [--limit N] [--reader FOLDER] [--repeats N] [--also NAME=FOLDER ...]
        [--rival NAME=FOLDER ...] [--published NAME=FOLDER ...] [--json]

FILE holds question rows in the form of the reader's training data (`context`, `question`, `answers`, `is_impossible`).
Every batch is read by each reader under each budget in turn, --repeats times, of which the median counts.
`f1_budget_B` is over all questions with the threshold of the reader, `f1_forced_budget_B` the best span on the
answerable ones, `f1_lost_budget_B` what the budget costs question by question, `seconds_budget_B` and
`processor_seconds_budget_B` for 1,000 questions, with the interval that the repeats leave, `flops_budget_B` the share
of the full FLOPs really spent, `gflops_budget_B` billions of operations a question, `time_ratio_B` and
`processor_ratio_B` the time over that of the full budget. `NAME_...` are the same of the other readers.

`gain_over_NAME_B` is our F1 less that of an --also question by question, where theirs, if it has no budget, is read in
full. A --rival reads with as many operations as ours spends of each window, as far as it can spend so many or so few:
`gain_at_equal_flops_over_NAME_B` is our F1 with budget B less theirs, `NAME_f1_at_equal_flops_B` and
`NAME_gflops_at_equal_flops_B` are theirs. A rival without budgets, that is a dense one or one of --published (DLO,
which runs a token where its router says p > 0.5), spends what it spends, and ours reads with as many operations:
`gain_at_equal_flops_over_NAME`, `f1_at_equal_flops_of_NAME` and `gflops_at_equal_flops_of_NAME`.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from _common import Figure, document, show
from _depth_turns import Curve, Subject, Turn, take_turns

from slarag.backends.reader.store import SHIPPED
from slarag.backends.training.sources import Row, read_rows
from slarag.evals.intervals import Figure as Interval
from slarag.evals.intervals import mean, statistic

BUDGETS = (1.0, 0.8, 0.6, 0.4)
RESAMPLES = 1000
OTHERS = {
    "also": "another reader, with the same budgets",
    "rival": "another reader, one of the two with as many operations as the other",
    "published": "a rival that is read by its routers' threshold",
}


@dataclass(frozen=True)
class _Match:
    """Ours and theirs with as many operations. gain: the figure's name; named: how the figures of `last` are called."""

    gain: str
    named: str
    ours: Curve
    theirs: Curve
    last: Curve


@dataclass
class _Plan:
    """What is measured. curves: of each reader, by budget; ours first."""

    questions: int
    curves: list[tuple[Subject, dict[float, Curve]]] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    matches: list[_Match] = field(default_factory=list)
    also: list[tuple[Subject, dict[float, Curve]]] = field(default_factory=list)

    def add(self, subject: Subject, budgets: Sequence[float]) -> tuple[Subject, dict[float, Curve]]:
        """Have `subject` read with each of `budgets`, or in full where it heeds none."""
        found = {budget: self._turn(subject, budget) for budget in (budgets if subject.has_dial else (1.0,))}
        self.curves.append((subject, found))
        return subject, found

    def match(self, rival: Subject) -> None:
        """Have `rival` and ours read with as many operations as each other."""
        ours, curves = self.curves[0]
        name = rival.prefix.rstrip("_")
        if rival.has_dial:
            for budget, led in curves.items():
                theirs = self._turn(rival, follows=led)
                gain = f"gain_at_equal_flops_over_{name}_{budget:g}"
                self.matches.append(_Match(gain, f"{name}_{{}}_at_equal_flops_{budget:g}", led, theirs, theirs))
            return
        _, found = self.add(rival, ())
        mine = self._turn(ours, follows=found[1.0]) if ours.has_dial else curves[1.0]
        gain = f"gain_at_equal_flops_over_{name}"
        self.matches.append(_Match(gain, f"{{}}_at_equal_flops_of_{name}", mine, found[1.0], mine))

    def _turn(self, subject: Subject, budget: float = 1.0, follows: Curve | None = None) -> Curve:
        turn = Turn(subject, Curve([[] for _ in range(self.questions)]), budget, follows)
        self.turns.append(turn)
        return turn.curve


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="question rows, JSON Lines")
    parser.add_argument("--limit", type=int, help="questions, drawn by --seed; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", type=Path, default=SHIPPED, help="default: the mixture that ships")
    parser.add_argument("--repeats", type=int, default=1, help="readings of each batch, for the times")
    for kind, what in OTHERS.items():
        parser.add_argument(f"--{kind}", action="append", default=[], metavar="NAME=FOLDER", help=what)
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS, help="the first is what others are over")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    named = {kind: [_named(kind, entry, parser) for entry in vars(options)[kind]] for kind in OTHERS}
    rows = _drawn(list(read_rows(options.data)), options.limit, options.seed)
    plan = _planned(options, named, len(rows))
    take_turns(plan.turns, [(row["question"], row["context"]) for row in rows], options.repeats)
    for turn in plan.turns:
        turn.curve.score(rows, turn.subject.settings)
    counts = {"questions": len(rows), "threads": options.threads, "repeats": options.repeats}
    show(document({"data": options.data.name, **counts}, _figures(plan)), as_json=options.json)


def _named(kind: str, entry: str, parser: argparse.ArgumentParser) -> tuple[str, Path]:
    name, _, folder = entry.partition("=")
    if not name or not folder:
        parser.error(f"--{kind} {entry!r} is not NAME=FOLDER")
    return f"{name}_", Path(folder)


def _drawn(rows: list[Row], limit: int | None, seed: int) -> list[Row]:
    return rows if limit is None or limit >= len(rows) else random.Random(seed).sample(rows, limit)


def _planned(options: argparse.Namespace, named: dict[str, list[tuple[str, Path]]], questions: int) -> _Plan:
    plan = _Plan(questions)
    plan.add(Subject.load("", options.reader, options.threads), options.budgets)
    for prefix, folder in named["also"]:
        plan.also.append(plan.add(Subject.load(prefix, folder, options.threads), options.budgets))
    for kind in ("rival", "published"):
        for prefix, folder in named[kind]:
            plan.match(Subject.load(prefix, folder, options.threads, by_threshold=kind == "published"))
    return plan


def _figures(plan: _Plan) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    for subject, curves in plan.curves:
        full = next(iter(curves.values()))
        for budget, curve in curves.items():
            figures |= {f"{subject.prefix}{name}_{budget:g}": one for name, one in _of(curve, full).items()}
    _, ours = plan.curves[0]
    for other, curves in plan.also:
        for budget, curve in ours.items():
            theirs = curves.get(budget, curves[max(curves)])
            figures[f"gain_over_{other.prefix}{budget:g}"] = _figure(mean(_less(curve.f1, theirs.f1)), "F1")
            figures[f"time_over_{other.prefix}{budget:g}"] = _figure(_ratio(curve.seconds, theirs.seconds), "ratio")
    for match in plan.matches:
        figures[match.gain] = _figure(mean(_less(match.ours.f1, match.theirs.f1)), "F1")
        figures[match.named.format("f1")] = _figure(mean(match.last.f1), "F1")
        figures[match.named.format("gflops")] = _exact(match.last.gflops(), "GFLOP", len(match.last.f1))
    return figures


def _of(curve: Curve, full: Curve) -> dict[str, Figure]:
    questions = len(curve.f1)
    return {
        "f1_budget": _figure(mean(curve.f1), "F1"),
        "f1_forced_budget": _figure(mean(curve.forced), "F1"),
        "f1_lost_budget": _figure(mean(_less(full.f1, curve.f1)), "F1"),
        "seconds_budget": _figure(_per_thousand(curve.seconds, questions), "s per 1,000"),
        "processor_seconds_budget": _figure(_per_thousand(curve.processor, questions), "s per 1,000"),
        "time_ratio": _figure(_ratio(curve.seconds, full.seconds), "ratio"),
        "processor_ratio": _figure(_ratio(curve.processor, full.processor), "ratio"),
        "flops_budget": _exact(curve.flops(), "share", questions),
        "gflops_budget": _exact(curve.gflops(), "GFLOP", questions),
    }


def _less(ones: Sequence[float], others: Sequence[float]) -> list[float]:
    return [one - other for one, other in zip(ones, others, strict=True)]


def _per_thousand(times: Sequence[Sequence[float]], questions: int) -> Interval:
    """Of `times` by batch and repeat: the batches' medians for 1,000 questions; the interval is that of the repeats."""
    data = np.array(times)
    drawn = np.random.default_rng(0).integers(0, data.shape[1], (RESAMPLES, *data.shape))
    sums = np.array([np.median(np.take_along_axis(data, one, 1), axis=1).sum() for one in drawn])
    low, high = np.quantile(sums, (0.025, 0.975))
    value, scale = float(np.median(data, axis=1).sum()), 1000 / questions
    return Interval(value=scale * value, low=scale * float(low), high=scale * float(high), n=questions)


def _ratio(ones: Sequence[Sequence[float]], others: Sequence[Sequence[float]]) -> Interval:
    ours, theirs = np.median(np.array(ones), axis=1), np.median(np.array(others), axis=1)
    return statistic(len(ours), lambda drawn: float(ours[drawn].sum() / theirs[drawn].sum()))


def _exact(value: float, unit: str, n: int) -> Figure:
    return _figure(Interval(value=value, low=value, high=value, n=n), unit)


def _figure(found: Interval, unit: str) -> Figure:
    return {**found.to_dict(), "unit": unit}


if __name__ == "__main__":
    main()
