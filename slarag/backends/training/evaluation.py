"""How good a trained reader is, and the numbers that are fitted to it: null weights and answer threshold."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from ...sla.errors import DataError
from ...sla.matching import best_f1, exact_match
from ..reader.backend import ReadFunction
from ..reader.combine import answer_logit
from ..reader.model import Reader
from ..reader.parent import load_tokenizer
from ..reader.reading import Reading, merge_windows
from ..reader.store import ReaderSettings
from ..reader.windows import Window, Windower
from .sources import LABEL_BITS, Row

BATCH_TOKENS = 6144


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingScores:
    """Scores over question rows, fractions of 1.

    f1_forced, exact_forced: the best span, abstaining or not, on answerable rows. f1: with the threshold, over all
    rows, where an abstention scores 1 on an unanswerable row and 0 on another. no_answer_recall: the share of
    the unanswerable rows that were abstained from.
    """

    rows: int
    answerable: int
    f1_forced: float
    exact_forced: float
    f1: float
    no_answer_recall: float
    answered_share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimScores:
    """Three-way accuracy over claim rows, beside the share of the commonest label."""

    rows: int
    accuracy: float
    majority: float


def read_pairs(model: Reader, pairs: Sequence[tuple[str, str]], *, threads: int = 2) -> list[Reading]:
    """Read (question or claim, passage) pairs in batches of like length."""
    read = ReadFunction(model, threads)
    parts: list[list[Reading]] = [[] for _ in pairs]
    for batch in window_batches(pairs):
        for (index, _), reading in zip(batch, read([window for _, window in batch]), strict=True):
            parts[index].append(reading)
    return [merge_windows(part) for part in parts]


def window_batches(pairs: Sequence[tuple[str, str]]) -> Iterator[list[tuple[int, Window]]]:
    """The windows of the pairs in batches of like length, each with the position of its pair."""
    windower = Windower(load_tokenizer())
    windows: list[tuple[int, Window]] = [(i, w) for i, pair in enumerate(pairs) for w in windower.windows(*pair)]
    windows.sort(key=lambda entry: len(entry[1].ids))
    at = 0
    while at < len(windows):
        size = max(1, BATCH_TOKENS // len(windows[min(at + 64, len(windows) - 1)][1].ids))
        yield windows[at : at + size]
        at += size


def fit_settings(rows: Sequence[Row], readings: Sequence[Reading], settings: ReaderSettings) -> ReaderSettings:
    """`settings` with null weights by logistic regression, then the threshold with the best F1 over all rows."""
    from sklearn.linear_model import LogisticRegression

    features = np.array([[r.span_log_odds, r.answer_logit] for r in readings])
    answerable = [not row["is_impossible"] for row in rows]
    if len(set(answerable)) < 2:
        raise DataError(
            "the development file lets no threshold be fitted", remedy="give it answerable and unanswerable rows"
        )
    fitted = LogisticRegression(C=100.0).fit(features, answerable)
    weights = (float(fitted.intercept_[0]), float(fitted.coef_[0, 0]), float(fitted.coef_[0, 1]))
    settings = replace(settings, null_weights=weights)
    thresholds = np.linspace(0.2, 0.8, 25)
    scores = [score_reading(rows, readings, replace(settings, answer_threshold=float(t))).f1 for t in thresholds]
    return replace(settings, answer_threshold=round(float(thresholds[int(np.argmax(scores))]), 3))


def score_reading(rows: Sequence[Row], readings: Sequence[Reading], settings: ReaderSettings) -> ReadingScores:
    """Scores of the readings of question rows."""
    forced: list[float] = []
    exact: list[float] = []
    overall: list[float] = []
    abstained: list[bool] = []
    for row, reading in zip(rows, readings, strict=True):
        text = row["context"][reading.spans[0].start : reading.spans[0].end] if reading.spans else ""
        probability = float(torch.sigmoid(torch.tensor(answer_logit(reading, settings))))
        abstains = probability < settings.answer_threshold
        abstained.append(abstains)
        if row["is_impossible"]:
            overall.append(float(abstains))
            continue
        forced.append(best_f1(text, row["answers"]))
        exact.append(float(any(exact_match(text, gold) for gold in row["answers"])))
        overall.append(0.0 if abstains else forced[-1])
    impossible = [bool(row["is_impossible"]) for row in rows]
    return ReadingScores(
        rows=len(rows),
        answerable=len(forced),
        f1_forced=_mean(forced),
        exact_forced=_mean(exact),
        f1=_mean(overall),
        no_answer_recall=_mean([gave_up for gave_up, none in zip(abstained, impossible, strict=True) if none]),
        answered_share=1.0 - _mean(abstained),
    )


def score_claims(rows: Sequence[Row], readings: Sequence[Reading]) -> ClaimScores:
    """Three-way accuracy of the support head; rows of coarse labels count right when an allowed label wins."""
    bits = [LABEL_BITS[row["label"]] for row in rows]
    right = [
        bool(label & (1 << int(np.argmax(reading.support)))) for label, reading in zip(bits, readings, strict=True)
    ]
    return ClaimScores(
        rows=len(rows), accuracy=_mean(right), majority=max(bits.count(b) for b in set(bits)) / len(bits)
    )


def fits(row: Row) -> bool:
    """Whether the row's article belongs to the third that thresholds are fitted on; the others are scored."""
    return int(hashlib.blake2b(row["title"].encode(), digest_size=4).hexdigest(), 16) % 3 == 0


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if len(values) else 0.0
