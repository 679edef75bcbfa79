"""The reader's experts on a device: each one flat tensor that can move, and how rows pass through it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import Qwen3MoeConfig
from .experts import ExpertWeights, Share
from .operations import Operations


@dataclass(frozen=True, slots=True)
class ReaderExperts(ExpertWeights):
    """The experts of one layer. views: up [inner, hidden] and down [hidden, inner]. biases: [inner], of the first."""

    biases: tuple[Tensor, ...]

    @classmethod
    def of(cls, flats: Iterable[Tensor], config: Qwen3MoeConfig) -> ReaderExperts:
        """Of experts stored flat (up, its bias, down), which must stay where they are."""
        hidden, inner = config.hidden_size, config.moe_intermediate_size
        size = hidden * inner
        parts = [flat[: 2 * size + inner].split((size, inner, size)) for flat in flats]
        return cls(
            views=tuple((up.view(inner, hidden), down.view(hidden, inner)) for up, _, down in parts),
            addresses=torch.tensor([up.data_ptr() for up, _, _ in parts]),
            biases=tuple(bias for _, bias, _ in parts),
        )


class ReaderOperations(Operations):
    """What the exchange of experts asks for, with the reader's blocks."""

    def run_shares(self, experts: ExpertWeights, shares: Sequence[Share]) -> None:
        """See `Operations.run_shares`."""
        assert isinstance(experts, ReaderExperts)
        for share in shares:
            for expert, start, count in share.groups:
                if count:
                    (up, down), rows = experts.views[expert], slice(start, start + count)
                    share.out[rows] = F.linear(F.gelu(F.linear(share.rows[rows], up, experts.biases[expert])), down)
