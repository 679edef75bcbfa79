"""Which tokens are active in which layer under a compute budget.

The null expert takes a token where its logit, shifted per layer, is above zero; such a token passes the layer unchanged
and costs no more than its key and value. The shift is the quantile of the row's own null logits that leaves the
layer's share of the budget, so every row spends its own budget, whatever shares its batch (unlike a threshold, as DLO,
arXiv 2407.11030, uses at inference, or a top-k over the batch, as it uses in training).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .rows import Rows

GRID = 16


@dataclass(frozen=True, slots=True)
class Active:
    """The active tokens of a batch in one layer. index: int64 [tokens], of the batch laid end to end; rows: theirs."""

    index: Tensor
    rows: Rows


class DepthSchedule(nn.Module):
    """How a share of activity is spread over the layers: a table, interpolated; even until it is fitted."""

    shares: Tensor

    def __init__(self, num_layers: int) -> None:
        super().__init__()
        even = torch.linspace(0, 1, GRID + 1).unsqueeze(1).repeat(1, num_layers)
        self.register_buffer("shares", even)

    def forward(self, activity: Tensor) -> Tensor:
        """Shares of active tokens [batch, layers] whose mean over the layers is `activity` [batch]."""
        place = activity.clamp(0, 1) * GRID
        low = place.floor().long().clamp(max=GRID - 1)
        rest = (place - low).unsqueeze(-1)
        return self.shares[low] * (1 - rest) + self.shares[low + 1] * rest

    @torch.no_grad()
    def fit(self, null_logits: Tensor) -> None:
        """Spread activity as the routers ask for it: one threshold over the null logits [tokens, layers] of all layers.

        A share of the tokens is active in a layer when their null logits there are among that share of the lowest of
        all.
        """
        flat = null_logits.reshape(-1).sort().values
        for step in range(1, GRID):
            threshold = flat[step * (len(flat) - 1) // GRID]
            self.shares[step] = (null_logits <= threshold).float().mean(0)
        self._mend()

    def _mend(self) -> None:
        steps = torch.linspace(0, 1, GRID + 1, device=self.shares.device)
        self.shares[0], self.shares[-1] = 0.0, 1.0
        for step in range(1, GRID):
            row = self.shares[step]
            for _ in range(8):
                row = (row + (steps[step] - row.mean())).clamp(0, 1)
            self.shares[step] = row


def choose_active(null_logits: Tensor, shares: Tensor, rows: Rows) -> Active | None:
    """The tokens with the lowest null logits [tokens] of each of `rows`, its `shares` [batch] of them.

    None when every token is active. A row keeps at least one.
    """
    counts = (shares * rows.lengths).round().long().clamp(min=1)
    counts = torch.minimum(counts, rows.lengths)
    chosen = Rows.of(counts)
    if chosen.sizes == rows.sizes:
        return None
    padded = rows.padded(null_logits.float(), torch.inf)
    lowest = padded.topk(chosen.width, dim=-1, largest=False).indices
    among = torch.ones_like(lowest, dtype=torch.bool) if chosen.real is None else chosen.real
    is_active = torch.zeros_like(padded, dtype=torch.bool).scatter(1, lowest, among)
    return Active(rows.laid(is_active).nonzero().squeeze(-1), chosen)
