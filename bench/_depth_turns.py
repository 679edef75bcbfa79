"""Readers that read the same batches in turn, each within a budget, or with as many operations as another spends."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from slarag.backends.reader.backend import ReadFunction
from slarag.backends.reader.depth import choose_by_threshold
from slarag.backends.reader.dynamic_encoder import DynamicEncoder
from slarag.backends.reader.flops import Flops
from slarag.backends.reader.model import Reader
from slarag.backends.reader.reading import Reading, merge_windows
from slarag.backends.reader.store import ReaderSettings, load_reader
from slarag.backends.reader.windows import Window
from slarag.backends.training.evaluation import score_reading, window_batches
from slarag.backends.training.sources import Row

LEAST_BUDGET = 1e-3


@dataclass
class Curve:
    """What one budget of one reader came to.

    parts: readings by question. seconds, processor: of each batch, by repeat. spent: (share of the full FLOPs, tokens)
    by window; operations: by window of the batch that was read last, and `total` of all. f1, forced: by question.
    """

    parts: list[list[Reading]]
    seconds: list[list[float]] = field(default_factory=list)
    processor: list[list[float]] = field(default_factory=list)
    spent: list[tuple[float, int]] = field(default_factory=list)
    operations: list[float] = field(default_factory=list)
    total: float = 0.0
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

    def gflops(self) -> float:
        """Billions of operations a question."""
        return self.total / len(self.parts) / 1e9


@dataclass
class Subject:
    """A reader that is measured. prefix: of its figures' names. has_dial: whether it heeds budgets."""

    prefix: str
    settings: ReaderSettings
    read: ReadFunction
    flops: Flops
    has_dial: bool

    @classmethod
    def load(cls, prefix: str, folder: Path, threads: int, *, by_threshold: bool = False) -> Subject:
        """The reader in `folder`; `by_threshold` as DLO was published."""
        model, settings = load_reader(folder)
        if by_threshold:
            _use_threshold(model, folder)
        has_dial = isinstance(model.encoder, DynamicEncoder) and model.encoder.config.skip != "none"
        flops = Flops(model.encoder.config)
        return cls(prefix, settings, ReadFunction(model, threads), flops, has_dial and not by_threshold)

    def full(self, windows: Sequence[Window]) -> list[float]:
        """The operations of each window without a budget."""
        return self.flops.full(torch.tensor([len(window.ids) for window in windows])).tolist()


@dataclass
class Turn:
    """A reader's reading within `budget`, or, window by window, with as many operations as `follows` took."""

    subject: Subject
    curve: Curve
    budget: float = 1.0
    follows: Curve | None = None

    def dialled(self, windows: Sequence[Window]) -> list[Window]:
        """The windows with their budgets."""
        if self.follows is None:
            return [replace(window, budget=self.budget) for window in windows]
        shares = (has / full for has, full in zip(self.follows.operations, self.subject.full(windows), strict=True))
        return [
            replace(window, budget=min(1.0, max(LEAST_BUDGET, share)))
            for window, share in zip(windows, shares, strict=True)
        ]

    def take(self, batch: list[tuple[int, Window]], *, is_first: bool = True) -> None:
        """Read a batch; only the first time of several its readings are kept."""
        windows = self.dialled([window for _, window in batch])
        began, spent = time.perf_counter(), time.process_time()
        readings = self.subject.read(windows)
        seconds, processor = time.perf_counter() - began, time.process_time() - spent
        if not is_first:
            self.curve.seconds[-1].append(seconds)
            self.curve.processor[-1].append(processor)
            return
        self.curve.seconds.append([seconds])
        self.curve.processor.append([processor])
        self._keep(batch, readings, windows)

    def _keep(self, batch: list[tuple[int, Window]], readings: Sequence[Reading], windows: Sequence[Window]) -> None:
        curve = self.curve
        for (index, _), reading in zip(batch, readings, strict=True):
            curve.parts[index].append(reading)
            curve.spent.append((reading.spent, reading.tokens))
        full = self.subject.full(windows)
        curve.operations = [reading.spent * each for reading, each in zip(readings, full, strict=True)]
        curve.total += sum(curve.operations)


def take_turns(turns: Sequence[Turn], pairs: list[tuple[str, str]], repeats: int) -> None:
    """Read all pairs; each batch `repeats` times for the times, once by those that follow others."""
    batches = list(window_batches(pairs))
    leaders = [turn for turn in turns if turn.follows is None]
    for turn in turns:
        turn.subject.read([window for _, window in batches[0]])
    for done, batch in enumerate(batches):
        _say(f"\rbatch {done + 1} of {len(batches)}")
        for again in range(repeats):
            # Whoever goes first after another batch finds colder caches, so they take turns.
            first = (done + again) % len(leaders)
            for turn in [*leaders[first:], *leaders[:first]]:
                turn.take(batch, is_first=again == 0)
        for turn in turns:
            if turn.follows is not None:
                turn.take(batch)
    _say("\n")


def _use_threshold(model: Reader, folder: Path) -> None:
    if not isinstance(model.encoder, DynamicEncoder) or model.encoder.config.skip != "feed_forward":
        raise SystemExit(f"the reader in {str(folder)!r} has no feed-forward blocks that are skipped")
    model.encoder.choose_by(choose_by_threshold)


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(text, end="", file=sys.stderr, flush=True)
