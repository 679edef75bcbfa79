"""Which tokens are active in which layer under a compute budget.

The null expert takes a token where its logit, shifted per layer, is above zero; such a token passes the layer unchanged
and costs no more than its key and value. The shift is the quantile of the row's own null logits that leaves the
layer's share of the budget, so every row spends its own budget, whatever shares its batch. DLO as published (arXiv
2407.11030) has no budget: it takes a top-k over the batch in training and a threshold at inference; both are here too,
for feed-forward blocks.
"""

from __future__ import annotations

from collections.abc import Callable
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

    @classmethod
    def where(cls, is_active: Tensor, rows: Rows) -> Active | None:
        """The tokens of `rows` that bool [tokens] `is_active` picks; None for all of them."""
        if bool(is_active.all()):
            return None
        row = torch.arange(len(rows.sizes), device=is_active.device).repeat_interleave(rows.lengths)
        counts = torch.zeros_like(rows.lengths).index_add(0, row, is_active.long())
        return cls(is_active.nonzero().squeeze(-1), Rows.of(counts))

    def others(self, tokens: int) -> Tensor:
        """Those of `tokens` that are not active, int64."""
        is_other = torch.ones(tokens, dtype=torch.bool, device=self.index.device)
        return is_other.index_fill(0, self.index, False).nonzero().squeeze(-1)


Choose = Callable[[Tensor, Tensor | None, Rows], Active | None]
"""Which tokens of rows are active, by their null logits [tokens] and how many of each row are to be, int64 [batch];
None for all of them."""


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

    def counts(self, activity: Tensor, lengths: Tensor) -> Tensor:
        """How many tokens of rows of `lengths`, int64 [batch], are active in each layer; int64 [batch, layers].

        A row has at least one in each. What rounding leaves over in a layer the next one gets, and the layers that are
        active least come first, so that those with room make up for what one token is too much there.
        """
        wanted, order = (self(activity) * lengths.unsqueeze(-1)).sort(dim=-1)
        counts, left = torch.zeros_like(order), torch.zeros_like(activity)
        for at in range(wanted.shape[1]):
            due = wanted[:, at] + left
            counts[:, at] = torch.minimum(due.round().long().clamp(min=1), lengths)
            left = due - counts[:, at]
        return torch.zeros_like(counts).scatter(1, order, counts)

    @torch.no_grad()
    def fit_through(self, shares: Tensor) -> None:
        """Spread activity as `shares` [layers] at their mean, and in proportion below it and above."""
        mean = float(shares.mean())
        for step in range(1, GRID):
            activity = step / GRID
            below = activity < mean
            spread = shares * activity / mean if below else 1 - (1 - shares) * (1 - activity) / max(1 - mean, 1e-6)
            self.shares[step] = spread

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


def choose_active(null_logits: Tensor, counts: Tensor | None, rows: Rows) -> Active | None:
    """The `counts` tokens of each of `rows` with the lowest null logits; see `Choose`. A row keeps at least one."""
    chosen = rows if counts is None else Rows.of(counts)
    if chosen.sizes == rows.sizes:
        return None
    padded = rows.padded(null_logits.float(), torch.inf)
    lowest = padded.topk(chosen.width, dim=-1, largest=False).indices
    among = torch.ones_like(lowest, dtype=torch.bool) if chosen.real is None else chosen.real
    is_active = torch.zeros_like(padded, dtype=torch.bool).scatter(1, lowest, among)
    return Active(rows.laid(is_active).nonzero().squeeze(-1), chosen)


def choose_in_batch(null_logits: Tensor, counts: Tensor | None, rows: Rows) -> Active | None:
    """As many tokens as `counts` has in all, wherever in the batch the null logits are lowest; see `Choose`."""
    if counts is None:
        return None
    lowest = null_logits.topk(int(counts.sum()), largest=False).indices
    return Active.where(torch.zeros_like(null_logits, dtype=torch.bool).index_fill(0, lowest, True), rows)


def choose_by_threshold(null_logits: Tensor, counts: Tensor | None, rows: Rows) -> Active | None:
    """The tokens that the router rather runs than not (p > 0.5), however many; see `Choose`."""
    del counts
    return Active.where(null_logits < 0, rows)
