"""How a budget is spread over the layers so that answers change least.

The routers say which tokens of a layer matter; what a layer as a whole is worth is measured instead. At a few levels of
activity, a part of it goes from the layer that misses it least to the one that gains most by it, as long as that brings
what the reader says nearer to what it says with all of its compute.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

from ..reader.depth import GRID
from ..reader.dynamic_encoder import DynamicEncoder
from ..reader.model import Reader
from .distillation import matching_loss
from .encoding import TrainingBatch

ANCHORS = (4, 8, 12)
"""Rows of the schedule's table that are fitted; those between are interpolated."""
MOVE = 0.16
"""Share of a layer's tokens that a move takes; halved when none helps."""
LEAST_MOVE = 0.03


@torch.no_grad()
def fit_shares(model: Reader, batches: Sequence[TrainingBatch], moves: int = 12) -> list[tuple[float, float]]:
    """Fit the schedule of `model` on `batches`; returns the divergence at each anchor before and after, in nats.

    moves: at each anchor, at most. A reader without a budget is left alone.
    """
    encoder = model.encoder
    if not isinstance(encoder, DynamicEncoder) or encoder.config.skip == "none":
        return []
    divergence = _Divergence(model, encoder, batches)
    table = encoder.schedule.shares
    rows = {0: table[0].clone(), GRID: table[GRID].clone()}
    found: list[tuple[float, float]] = []
    for anchor in ANCHORS:
        rows[anchor], before, after = _descend(table[anchor].clone(), divergence, moves)
        found.append((before, after))
    places = sorted(rows)
    for low, high in pairwise(places):
        for step in range(low, high + 1):
            table[step] = torch.lerp(rows[low], rows[high], (step - low) / (high - low))
    return found


class _Divergence:
    """How far the reader is from itself with all of its compute when layers have given shares of active tokens."""

    def __init__(self, model: Reader, encoder: DynamicEncoder, batches: Sequence[TrainingBatch]) -> None:
        self._model, self._schedule, self._batches = model, encoder.schedule, batches
        self._full = [model(batch.ids, batch.segments, batch.lengths) for batch in batches]

    def __call__(self, shares: Tensor) -> float:
        """Of `shares` [layers]; the mean over the examples."""
        kept = self._schedule.shares.clone()
        self._schedule.shares[:] = shares  # whatever the budget
        total = 0.0
        for batch, full in zip(self._batches, self._full, strict=True):
            output = self._model(batch.ids, batch.segments, batch.lengths, torch.full((len(batch.ids),), 0.5))
            total += float(matching_loss(output, full, batch.labels.any(-1))) * len(batch.ids)
        self._schedule.shares[:] = kept
        return total / sum(len(batch.ids) for batch in self._batches)


def _descend(shares: Tensor, divergence: _Divergence, moves: int) -> tuple[Tensor, float, float]:
    """The best shares found from `shares` on, and the divergence before and after."""
    before = lowest = divergence(shares)
    step = MOVE
    for _ in range(moves):
        tried = _moved(shares, step, divergence)
        value = divergence(tried)
        if value < lowest:
            shares, lowest = tried, value
        elif (step := step / 2) < LEAST_MOVE:
            break
    return shares, before, lowest


def _moved(shares: Tensor, step: float, divergence: _Divergence) -> Tensor:
    """`shares` with up to `step` taken from the layer where that costs least and given where it helps most."""
    layers = range(len(shares))
    costs = torch.tensor([divergence(_changed(shares, layer, -step)) for layer in layers])
    gains = torch.tensor([divergence(_changed(shares, layer, step)) for layer in layers])
    # What is hardly there cannot be taken, what is nearly all there cannot grow.
    costs[shares < step / 4], gains[shares > 1 - step / 4] = torch.inf, torch.inf
    giver, taker = int(costs.argmin()), int(gains.argmin())
    room = min(step, float(shares[giver]), 1 - float(shares[taker]))
    return _changed(_changed(shares, giver, -room), taker, room)


def _changed(shares: Tensor, layer: int, by: float) -> Tensor:
    changed = shares.clone()
    changed[layer] = (changed[layer] + by).clamp(0, 1)
    return changed
