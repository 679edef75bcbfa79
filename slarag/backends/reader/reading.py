"""What the model says about windows, as plain values: spans, answerability, support."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .model import Reader, ReaderOutput, end_logits
from .windows import Window

TOP_STARTS = 8
TOP_ENDS = 4
MAX_ANSWER_TOKENS = 30
WIDTH_STEP = 16
"""Attention over a multiple of so many tokens takes two thirds of the time that it takes over one less (torch 2.13)."""


@dataclass(frozen=True, slots=True)
class ReadSpan:
    """Characters `start` to `end` of the passage; probability given that the passage holds the answer."""

    start: int
    end: int
    probability: float


@dataclass(frozen=True, slots=True)
class Reading:
    """One text pair, read.

    spans: by falling probability. span_log_odds: of "some span" against "none" by the span head; answer_logit: the
    answerability head's. support: supported, refuted, not enough; sums to 1. tokens: read. spent: the share of the full
    model's FLOPs that they cost.
    """

    spans: tuple[ReadSpan, ...]
    span_log_odds: float
    answer_logit: float
    support: tuple[float, float, float]
    tokens: int
    spent: float = 1.0


def read_windows(model: Reader, windows: list[Window]) -> list[Reading]:
    """One forward pass over a batch of windows, each within its budget; `model` decides dtype and device."""
    lengths = torch.tensor([len(w.ids) for w in windows])
    width = -(-int(lengths.max()) // WIDTH_STEP) * WIDTH_STEP
    ids = torch.zeros((len(windows), width), dtype=torch.long)
    segments = torch.zeros_like(ids)
    for row, window in enumerate(windows):
        ids[row, : len(window.ids)] = torch.tensor(window.ids)
        segments[row, window.first_length : len(window.ids)] = 1
    with torch.inference_mode():
        output = model(ids, segments, lengths, _budgets(windows))
        spent = model.spent(output, lengths).tolist()
        starts, ends, joint, log_odds = _best_spans(output)
        support = output.support.softmax(-1)
    return [
        Reading(
            spans=_spans(window, starts[row], ends[row], joint[row]),
            span_log_odds=float(log_odds[row]),
            answer_logit=float(output.answerable[row]),
            support=tuple(support[row].tolist()),  # type: ignore[arg-type]
            tokens=len(window.ids),
            spent=spent[row],
        )
        for row, window in enumerate(windows)
    ]


def _best_spans(output: ReaderOutput) -> tuple[list[list[int]], list[list[int]], list[list[float]], Tensor]:
    """Token starts, ends and joint probabilities of the best spans of each row, and the log odds of any span."""
    batch, length = output.start.shape
    log_start = output.start.log_softmax(-1)
    null = log_start[:, 0].clamp(max=-1e-6)
    log_odds = torch.log(-torch.expm1(null)) - null
    passage = log_start[:, 1:].log_softmax(-1)
    top, starts = passage.topk(min(TOP_STARTS, length - 1), dim=-1)
    starts = starts + 1
    log_end = end_logits(output, starts).log_softmax(-1)
    too_long = torch.arange(length) >= starts.unsqueeze(-1) + MAX_ANSWER_TOKENS
    best, ends = log_end.masked_fill(too_long, -math.inf).topk(min(TOP_ENDS, length), dim=-1)
    joint = (top.unsqueeze(-1) + best).reshape(batch, -1).exp()
    width = best.shape[-1]
    return (
        starts.repeat_interleave(width, dim=1).tolist(),
        ends.reshape(batch, -1).tolist(),
        joint.tolist(),
        log_odds,
    )


def _spans(window: Window, starts: list[int], ends: list[int], joint: list[float]) -> tuple[ReadSpan, ...]:
    found: dict[tuple[int, int], float] = {}
    for start, end, probability in zip(starts, ends, joint, strict=True):
        first, last = start - window.first_length, end - window.first_length
        if probability <= 0 or not 0 <= first <= last < len(window.offsets):
            continue
        place = window.offsets[first][0], window.offsets[last][1]
        found[place] = found.get(place, 0.0) + probability
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    return tuple(ReadSpan(start, end, probability) for (start, end), probability in ordered)


def merge_windows(readings: list[Reading]) -> Reading:
    """The readings of one passage's windows as one: spans weighted by their window's odds, the surest leads."""
    if len(readings) == 1:
        return readings[0]
    lead = max(readings, key=lambda reading: reading.span_log_odds)
    weights = torch.tensor([reading.span_log_odds for reading in readings]).softmax(0).tolist()
    found: dict[tuple[int, int], float] = {}
    for reading, weight in zip(readings, weights, strict=True):
        for span in reading.spans:
            place = span.start, span.end
            found[place] = max(found.get(place, 0.0), weight * span.probability)
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    sure = min(readings, key=lambda reading: reading.support[2])
    return Reading(
        spans=tuple(ReadSpan(start, end, probability) for (start, end), probability in ordered),
        span_log_odds=lead.span_log_odds,
        answer_logit=max(reading.answer_logit for reading in readings),
        support=sure.support,
        tokens=sum(reading.tokens for reading in readings),
        spent=sum(reading.spent * reading.tokens for reading in readings) / sum(reading.tokens for reading in readings),
    )


def _budgets(windows: list[Window]) -> Tensor | None:
    budgets = torch.tensor([window.budget for window in windows])
    return None if bool((budgets >= 1).all()) else budgets
