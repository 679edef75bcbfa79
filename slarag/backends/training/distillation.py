"""A reader teaches itself to spend less: within a budget it learns what it says with all of its compute.

In-place distillation (Yu and Huang, 2019, universally slimmable networks, section 3.3), with budgets for widths.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..reader.model import ReaderOutput, end_logits


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
