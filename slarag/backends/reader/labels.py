"""What teaches the routers which tokens a layer may leave alone.

Neither way runs a token through a layer a second time: labels of loss come from the one pass that is made anyway, over
the tokens that were active in it; labels of similarity are of all tokens, and those that a feed-forward block skips
pass it forwards once, for their label only (DLO as released runs every token again).
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

LabelKind = Literal["loss", "similarity"]


class Teacher(Protocol):
    """Watches what layers do to tokens, and trains their null logits.

    sees_all: whether it is to see the tokens, too, that are not active.
    """

    @property
    def sees_all(self) -> bool:
        """See the class."""
        ...

    def mark(self, new: Tensor, old: Tensor, null: Tensor, rows: int) -> Tensor:
        """`new` again; `old`, `new` [tokens, hidden] before and after a layer, `null` [tokens] its null logits.

        rows: in the batch, over which the loss is a mean.
        """
        ...

    def loss(self) -> Tensor | None:
        """What to add to the batch's loss, None for nothing; forgets the batch."""
        ...


class SimilarityTeacher:
    """DLO's labels (arXiv 2407.11030, section 3): the tokens that change least, over all layers, are to be skipped.

    The tokens of all layers are compared, those that a layer did not run included: a quantile over the active ones
    alone would make the capacity smaller twice. capacity: the share of (token, layer) pairs labelled active; the
    trainer anneals it from 1. labelled: of the last batch, the share of each layer's tokens that were labelled active.
    """

    sees_all = True

    def __init__(self, capacity: float = 1.0) -> None:
        self.capacity = capacity
        self.labelled: Tensor | None = None
        self._seen: list[tuple[Tensor, Tensor]] = []

    def mark(self, new: Tensor, old: Tensor, null: Tensor, rows: int) -> Tensor:
        """See `Teacher.mark`."""
        with torch.no_grad():
            similarity = F.cosine_similarity(new.float(), old.float(), dim=-1)
        self._seen.append((similarity, null.float()))
        return new

    def loss(self) -> Tensor | None:
        """The mean binary cross-entropy between the routers and the labels of the batch."""
        if not self._seen:
            return None
        similarities = [similarity for similarity, _ in self._seen]
        null = torch.cat([logits for _, logits in self._seen])
        self._seen = []
        threshold = torch.cat(similarities).quantile(self.capacity)
        labels = [(similarity <= threshold).float() for similarity in similarities]
        self.labelled = torch.stack([each.mean() for each in labels])
        return F.binary_cross_entropy_with_logits(-null, torch.cat(labels))


class LossTeacher:
    """Labels that know the loss: a token's update matters as much as the loss would change without it, to first order.

    That is |gradient . (new - old)|, known in the backward pass for free (the Taylor saliency of pruning, Molchanov et
    al., 2017, of a token's update instead of a weight). A null logit learns minus its logarithm, standardised over
    all layers and tokens, so one threshold compares layers.
    """

    sees_all = False

    def __init__(self, weight: float = 1.0, decay: float = 0.98) -> None:
        self.weight = weight
        self.mean, self.variance = 0.0, 1.0
        self._decay = decay
        self._marks = 0

    def mark(self, new: Tensor, old: Tensor, null: Tensor, rows: int) -> Tensor:
        """See `Teacher.mark`; the logits get their gradient when that of `new` is known."""
        return _SaliencyLabel.apply(new, old.detach(), null, self, rows)  # type: ignore[no-any-return]

    def loss(self) -> Tensor | None:
        """None: the labels come with the backward pass."""
        return None

    def gradient(self, saliency: Tensor, null: Tensor) -> Tensor:
        """The gradient of half the mean squared error between `null` and the standardised labels, both [tokens]."""
        logs = saliency.clamp(min=1e-12).log()
        self._note(float(logs.mean()), float(logs.var(correction=0)))
        target = (self.mean - logs) / max(self.variance, 1e-6) ** 0.5
        return self.weight * (null.float() - target.clamp(-4, 4)) / len(null)

    def state(self) -> Tensor:
        """What it knows of saliency so far, float64; for `restore`."""
        return torch.tensor([self.mean, self.variance, self._marks], dtype=torch.float64)

    def restore(self, state: Tensor) -> None:
        """Go on from `state`."""
        self.mean, self.variance, marks = state.tolist()
        self._marks = int(marks)

    def _note(self, mean: float, variance: float) -> None:
        # The first marks are few: a plain mean of them, before the moving one has enough to stand on.
        self._marks += 1
        keep = min(self._decay, 1 - 1 / self._marks)
        spread = variance + (mean - self.mean) ** 2 * keep
        self.mean = keep * self.mean + (1 - keep) * mean
        self.variance = keep * self.variance + (1 - keep) * spread


class _SaliencyLabel(torch.autograd.Function):
    """The identity on `new`, whose backward pass labels the null logits."""

    @staticmethod
    def forward(ctx: Any, new: Tensor, old: Tensor, null: Tensor, teacher: LossTeacher, rows: int) -> Tensor:
        ctx.save_for_backward(new.detach() - old, null.detach())
        ctx.teacher, ctx.rows = teacher, rows
        return new.view_as(new)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        update, null = ctx.saved_tensors
        (gradient,) = gradients
        saliency = (gradient.float() * update.float()).sum(-1).abs() * ctx.rows
        return gradient, None, ctx.teacher.gradient(saliency, null).to(null.dtype), None, None
