"""How a run teaches a dynamic reader to spend a budget: budgets drawn, routers taught, the schedule kept up."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from ..reader.dynamic import Trace
from ..reader.dynamic_encoder import DynamicEncoder
from ..reader.labels import LossTeacher, SimilarityTeacher, Teacher
from ..reader.model import Reader, ReaderOutput
from .start import ModelRecipe

REFRESH = 25
KEPT = 20_000


class DepthLessons:
    """The part of a training step that concerns routers.

    Every process of a run draws the same kind of step, so that none waits for a dearer one.
    """

    def __init__(self, recipe: ModelRecipe, reader: Reader, seed: int) -> None:
        self._recipe = recipe
        self._encoder = reader.encoder if isinstance(reader.encoder, DynamicEncoder) else None
        self._seed = seed
        self._nulls: list[Tensor] = []
        self.teacher = self._hired()

    @property
    def skips(self) -> bool:
        """Whether tokens may pass a layer by."""
        return self._encoder is not None and self._recipe.skip != "none"

    def budgets(self, step: int, rows: int) -> Tensor | None:
        """The budgets of a step's rows, float [rows]; None for full."""
        draw = random.Random(self._seed * 1_000_003 + step)
        if not self.skips or draw.random() < self._recipe.full_share:
            return None
        low = self._recipe.lowest_budget
        return torch.tensor([draw.uniform(low, 1.0) for _ in range(rows)])

    def extra_loss(self, output: ReaderOutput) -> Tensor | None:
        """The load-balance loss, and the teacher's."""
        parts = [trace.balance * self._recipe.balance_weight for trace in output.traces if trace.balance is not None]
        taught = self.teacher.loss() if self.teacher is not None else None
        parts += [taught] if taught is not None else []
        return torch.stack(parts).sum() if parts else None

    def after(self, step: int, share: float, traces: tuple[Trace, ...]) -> None:
        """Anneal the teacher's capacity and refit the schedule now and then; `share` of the run is done."""
        if not self.skips or self._encoder is None:
            return
        if isinstance(self.teacher, SimilarityTeacher):
            self.teacher.capacity = 1 - (1 - self._recipe.capacity) * min(1.0, 2 * share)
        self._nulls.append(torch.stack([trace.null for trace in traces if trace.null is not None], dim=1).float())
        while sum(map(len, self._nulls)) > KEPT:
            self._nulls.pop(0)
        if step % REFRESH == 0 and self._nulls:
            self._encoder.schedule.fit(torch.cat(self._nulls))

    def _hired(self) -> Teacher | None:
        if not self.skips:
            return None
        return LossTeacher() if self._recipe.labels == "loss" else SimilarityTeacher()
