"""How a run teaches a dynamic reader to spend a budget: budgets drawn, routers taught, the schedule kept up.

Feed-forward blocks with labels of similarity are taught as DLO was (arXiv 2407.11030, section 3): every step runs, over
the whole batch, the share of the tokens that the annealed capacity leaves; each layer's labelled share is its capacity,
and the learning rate of its weights goes with it.
"""

from __future__ import annotations

import random

import torch
from torch import Tensor

from ..reader.depth import choose_in_batch
from ..reader.dynamic import Trace
from ..reader.dynamic_encoder import DynamicEncoder
from ..reader.labels import LossTeacher, SimilarityTeacher, Teacher
from ..reader.model import Reader, ReaderOutput
from .start import ModelRecipe

REFRESH = 25
KEPT = 20_000
KEEP = 0.95
"""How much of a layer's mean labelled share a step keeps."""


class DepthLessons:
    """The part of a training step that concerns routers.

    Every process of a run draws the same kind of step, so that none waits for a dearer one.
    """

    def __init__(self, recipe: ModelRecipe, reader: Reader, seed: int) -> None:
        self._recipe = recipe
        self._encoder = reader.encoder if isinstance(reader.encoder, DynamicEncoder) else None
        self._seed = seed
        self._nulls: list[Tensor] = []
        self._teacher = self._hired()
        self._capacities = torch.ones(reader.encoder.config.num_layers if self.is_published else 0)
        if self._encoder is not None and self.is_published:
            self._encoder.choose_by(choose_in_batch)

    @property
    def skips(self) -> bool:
        """Whether tokens may pass a layer by."""
        return self._encoder is not None and self._recipe.skip != "none"

    @property
    def is_published(self) -> bool:
        """Whether the run is DLO's as published."""
        return self.skips and self._recipe.skip == "feed_forward" and self._recipe.labels == "similarity"

    def teacher(self, budgets: Tensor | None) -> Teacher | None:
        """Who watches a step within `budgets`.

        Labels of similarity compare all tokens; where whole layers are skipped only full steps show them.
        """
        if budgets is not None and isinstance(self._teacher, SimilarityTeacher) and not self.is_published:
            return None
        return self._teacher

    def budgets(self, step: int, lengths: Tensor) -> Tensor | None:
        """The budgets of a step's rows of `lengths`, float [rows]; None for full."""
        if isinstance(self._teacher, SimilarityTeacher):
            self._teacher.capacity = self.capacity(step)
        if self._encoder is not None and self.is_published:
            active = self.capacity(step) * lengths * self._encoder.config.num_layers
            return self._encoder.flops.spent(active, lengths)
        draw = random.Random(self._seed * 1_000_003 + step)
        if not self.skips or draw.random() < self._recipe.full_share:
            return None
        low = self._recipe.lowest_budget
        return torch.tensor([draw.uniform(low, 1.0) for _ in range(len(lengths))])

    def capacity(self, step: int) -> float:
        """The share that is labelled active in a step, annealed from 1."""
        return 1 - (1 - self._recipe.capacity) * min(1.0, step / self._recipe.capacity_steps)

    def extra_loss(self, output: ReaderOutput) -> Tensor | None:
        """The load-balance loss, and the teacher's."""
        parts = [trace.balance * self._recipe.balance_weight for trace in output.traces if trace.balance is not None]
        taught = self._teacher.loss() if self._teacher is not None else None
        parts += [taught] if taught is not None else []
        return torch.stack(parts).sum() if parts else None

    def after(self, step: int, traces: tuple[Trace, ...]) -> None:
        """Refit the schedule to the routers now and then; DLO's follows the labels, see `agree`."""
        if not self.skips or self._encoder is None or self.is_published:
            return
        self._nulls.append(torch.stack([trace.null for trace in traces if trace.null is not None], dim=1).float())
        while sum(map(len, self._nulls)) > KEPT:
            self._nulls.pop(0)
        if step % REFRESH == 0 and self._nulls:
            self._encoder.schedule.fit(torch.cat(self._nulls))

    @property
    def labelled(self) -> Tensor:
        """The share of each layer's tokens that the last batch's labels are active of, float [layers]; else empty.

        What it is over all processes `agree` wants to know.
        """
        seen = self._teacher.labelled if isinstance(self._teacher, SimilarityTeacher) else None
        return self._capacities if seen is None or not self.is_published else seen

    def agree(self, labelled: Tensor) -> None:
        """Move the layers' capacities, and with them the schedule, towards the processes' mean of `labelled`."""
        if self._encoder is None or not self.is_published:
            return
        self._capacities = KEEP * self._capacities + (1 - KEEP) * labelled
        self._encoder.schedule.fit_through(self._capacities)

    def rate(self, layer: int | None) -> float:
        """What the learning rate of a layer's weights is multiplied by; 1 in the mean over the layers, and for None."""
        if layer is None or not self.is_published:
            return 1.0
        return float(1 + self._capacities[layer] - self._capacities.mean())

    def state(self) -> dict[str, Tensor]:
        """What a checkpoint has to keep beside the weights."""
        if isinstance(self._teacher, LossTeacher):
            return {"teacher": self._teacher.state()}
        return {"capacities": self._capacities.clone()} if self.is_published else {}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Go on from a checkpoint's `state`; one of an older version may lack it."""
        if isinstance(self._teacher, LossTeacher) and "teacher" in state:
            self._teacher.restore(state["teacher"])
        if self.is_published and "capacities" in state:
            self._capacities = state["capacities"]

    def _hired(self) -> Teacher | None:
        if not self.skips:
            return None
        return LossTeacher() if self._recipe.labels == "loss" else SimilarityTeacher()
