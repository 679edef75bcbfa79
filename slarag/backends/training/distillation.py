"""Readers as teachers: of themselves within a budget, and of what came of them.

Within a budget a reader learns what it says with all of its compute: in-place distillation (Yu and Huang, 2019,
universally slimmable networks, section 3.3), with budgets for widths. A reader that learns something new goes on saying
what an earlier one did: learning without forgetting (Li and Hoiem, 2016, section 3).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..reader.model import Reader, ReaderOutput, end_logits
from .encoding import TrainingBatch


class Elder:
    """An earlier reader whose answers to questions are kept; what it says of claims is not."""

    def __init__(self, reader: Reader, weight: float) -> None:
        self.reader, self.weight = reader.eval(), weight

    def loss(self, output: ReaderOutput, batch: TrainingBatch) -> Tensor:
        """How far the questions of `output` are from what the elder says with all of its compute, weighted."""
        questions = ~batch.labels.any(-1)
        if not bool(questions.any()):
            return output.start.new_zeros(())
        with torch.no_grad():
            said = self.reader(batch.ids[questions], batch.segments[questions], batch.lengths[questions])
        apart = matching_loss(output.only(questions), said, torch.zeros(int(questions.sum()), dtype=torch.bool))
        return self.weight * questions.float().mean() * apart


def matching_loss(output: ReaderOutput, full: ReaderOutput, is_claim: Tensor) -> Tensor:
    """How far `output` is from `full`, the same batch's output with all compute; a mean over the rows.

    is_claim: bool [batch]; claims compare support, the other rows start, end given the start most likely in `full`,
    and half of answerability. In nats: Kullback-Leibler divergences, zero where the two agree.
    """
    support = _divergence(output.support, full.support)
    starts = full.start.argmax(-1, keepdim=True)
    ends = _divergence(*(end_logits(one, starts).squeeze(1) for one in (output, full)))
    reading = _divergence(output.start, full.start) + (starts.squeeze(-1) > 0) * ends
    sides = torch.stack([output.answerable, -output.answerable], -1)
    full_sides = torch.stack([full.answerable, -full.answerable], -1)
    reading = reading + 0.5 * _divergence(sides / 2, full_sides / 2)
    return torch.where(is_claim, support, reading).mean()


def _divergence(logits: Tensor, target: Tensor) -> Tensor:
    """KL(target || logits) over the last dimension; positions that are -inf in both count nothing."""
    wanted = F.log_softmax(target.float(), dim=-1)
    got = F.log_softmax(logits.float(), dim=-1)
    possible = torch.isfinite(wanted)
    difference = torch.where(possible, wanted, 0.0) - torch.where(possible, got, 0.0)
    return (wanted.exp() * difference).sum(-1)
