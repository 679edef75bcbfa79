"""What a reader's quality costs: F1, time and FLOPs under compute budgets, every batch under each budget in turn.

    python bench/depth.py --data FILE [--limit N] [--reader FOLDER] [--also NAME=FOLDER ...] [--json]

FILE holds question rows in the form of the reader's training data (`context`, `question`, `answers`, `is_impossible`).
`f1_budget_B` is over all questions with the threshold of the reader, `f1_forced_budget_B` the best span on the
answerable ones, `seconds_budget_B` for 1,000 questions, `flops_budget_B` the share of the full FLOPs really spent,
`time_ratio_B` the time over that of the full budget. `NAME_...` are the same of the readers given with --also; those
without a budget are read in full.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from _common import Figure, document, show, spread

from slarag.backends.reader.backend import ReadFunction
from slarag.backends.reader.dynamic_encoder import DynamicEncoder
from slarag.backends.reader.model import Reader
from slarag.backends.reader.reading import Reading, merge_windows
from slarag.backends.reader.store import SHIPPED, load_reader
from slarag.backends.training.evaluation import ReadingScores, score_reading, window_batches
from slarag.backends.training.sources import Row, read_rows

BUDGETS = (1.0, 0.8, 0.6, 0.4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="question rows, JSON Lines")
    parser.add_argument("--limit", type=int, help="questions, drawn by --seed; all by default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--reader", type=Path, default=SHIPPED, help="default: the one that ships")
    parser.add_argument("--also", action="append", default=[], metavar="NAME=FOLDER", help="another reader beside it")
    parser.add_argument("--budgets", type=float, nargs="+", default=BUDGETS)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    rows = _drawn(list(read_rows(options.data)), options.limit, options.seed)
    figures: dict[str, Figure] = {}
    for prefix, folder in [("", options.reader), *(_named(entry, parser) for entry in options.also)]:
        figures |= {f"{prefix}{name}": figure for name, figure in _measure(folder, rows, options).items()}
    workload = {"data": options.data.name, "questions": len(rows), "threads": options.threads}
    show(document(workload, figures), as_json=options.json)


def _named(entry: str, parser: argparse.ArgumentParser) -> tuple[str, Path]:
    name, _, folder = entry.partition("=")
    if not name or not folder:
        parser.error(f"--also {entry!r} is not NAME=FOLDER")
    return f"{name}_", Path(folder)


def _drawn(rows: list[Row], limit: int | None, seed: int) -> list[Row]:
    return rows if limit is None or limit >= len(rows) else random.Random(seed).sample(rows, limit)


@dataclass
class _Curve:
    """What one budget came to, batch by batch."""

    parts: list[list[Reading]]
    seconds: list[float] = field(default_factory=list)
    spent: list[tuple[float, int]] = field(default_factory=list)

    def readings(self) -> list[Reading]:
        return [merge_windows(part) for part in self.parts]

    def flops(self) -> float:
        tokens = sum(count for _, count in self.spent)
        return sum(share * count for share, count in self.spent) / tokens


def _measure(folder: Path, rows: Sequence[Row], options: argparse.Namespace) -> dict[str, Figure]:
    model, settings = load_reader(folder)
    dials = isinstance(model.encoder, DynamicEncoder) and model.encoder.config.skip != "none"
    budgets = tuple(options.budgets) if dials else (1.0,)
    taken = _count_experts(model)
    curves = _read(model, [(row["question"], row["context"]) for row in rows], budgets, options.threads)
    figures: dict[str, Figure] = {}
    full = sum(curves[budgets[0]].seconds)
    for budget, curve in curves.items():
        scores = score_reading(rows, curve.readings(), settings)
        figures |= _figures(budget, curve, scores, len(rows), full)
    shares = [count / max(1, sum(layer)) for layer in taken if sum(layer) for count in layer]
    if shares:
        figures |= {
            "expert_share_min": spread([min(shares)], "share"),
            "expert_share_max": spread([max(shares)], "share"),
        }
    return figures


def _read(model: Reader, pairs: list[tuple[str, str]], budgets: Sequence[float], threads: int) -> dict[float, _Curve]:
    read = ReadFunction(model, threads)
    curves = {budget: _Curve([[] for _ in pairs]) for budget in budgets}
    batches = list(window_batches(pairs))
    read([window for _, window in batches[0]])
    for turn, batch in enumerate(batches):
        # Whoever goes first after another batch finds colder caches, so they take turns.
        order = [*budgets[turn % len(budgets) :], *budgets[: turn % len(budgets)]]
        for budget in order:
            windows = [replace(window, budget=budget) for _, window in batch]
            began = time.perf_counter()
            readings = read(windows)
            curves[budget].seconds.append(time.perf_counter() - began)
            for (index, _), reading in zip(batch, readings, strict=True):
                curves[budget].parts[index].append(reading)
                curves[budget].spent.append((reading.spent, reading.tokens))
    return curves


def _figures(budget: float, curve: _Curve, scores: ReadingScores, questions: int, full: float) -> dict[str, Figure]:
    seconds = sum(curve.seconds)
    return {
        f"f1_budget_{budget:g}": spread([100 * scores.f1], "F1"),
        f"f1_forced_budget_{budget:g}": spread([100 * scores.f1_forced], "F1"),
        f"seconds_budget_{budget:g}": spread([1000 * seconds / questions], "s per 1,000"),
        f"time_ratio_{budget:g}": spread([seconds / full], "ratio"),
        f"flops_budget_{budget:g}": spread([curve.flops()], "share"),
    }


def _count_experts(model: Reader) -> list[list[int]]:
    """Tokens that each expert of each layer takes, filled while the model reads."""
    if not isinstance(model.encoder, DynamicEncoder) or not model.encoder.config.experts:
        return []
    taken = [[0] * model.encoder.config.experts for _ in model.encoder.layers]

    def counting(at: int) -> Any:
        def hook(layer: torch.nn.Module, given: Any, found: Any) -> None:
            taken[at] = [a + b for a, b in zip(taken[at], found[1].experts.tolist(), strict=True)]

        return hook

    for at, layer in enumerate(model.encoder.layers):
        layer.register_forward_hook(counting(at))
    return taken


if __name__ == "__main__":
    main()
