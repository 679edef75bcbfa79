"""The encoder whose layers are dynamic."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import EncoderConfig
from .depth import Choose, DepthSchedule
from .dynamic import DynamicLayer, Trace
from .embeddings import Embeddings
from .flops import Flops
from .labels import Teacher
from .rows import Rows


class DynamicEncoder(nn.Module):
    """Embeddings, dynamic layers, and the schedule that spreads a compute budget over them."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.flops = Flops(config)
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(
            DynamicLayer(config, added=index in config.added_layers) for index in range(config.num_layers)
        )
        self.schedule = DepthSchedule(config.num_layers)

    def forward(
        self,
        ids: Tensor,
        segments: Tensor,
        lengths: Tensor,
        budgets: Tensor | None = None,
        teacher: Teacher | None = None,
    ) -> tuple[Tensor, tuple[Trace, ...]]:
        """Encode a padded batch, each row within its own budget.

        `ids`, `segments`: int64 [batch, length]; `lengths`: int64 [batch], real tokens of each row; `budgets`: float
        [batch], shares of the full model's FLOPs, None for all of them. Returns the last hidden states
        [batch, length, hidden] and a trace of each layer.
        """
        rows = Rows.of(lengths, ids.shape[1])
        counts = None
        if budgets is not None and self.config.skip != "none":
            counts = self.schedule.counts(self.flops.activity(budgets, lengths), lengths)
        x = rows.laid(self.embeddings(ids, segments))
        traces: list[Trace] = []
        for index, layer in enumerate(self.layers):
            x, trace = layer(x, rows, None if counts is None else counts[:, index], teacher)
            traces.append(trace)
        return rows.padded(x), tuple(traces)

    def choose_by(self, choose: Choose) -> None:
        """Let `choose` say which tokens are active in each layer, rather than each row's budget.

        Raises `ValueError` where whole layers are skipped: in those each row keeps a token.
        """
        if self.config.skip != "feed_forward":
            raise ValueError(f"a reader with skip {self.config.skip!r} chooses tokens row by row")
        for layer in self.layers:
            assert isinstance(layer, DynamicLayer)
            layer.choose = choose

    def spent(self, traces: tuple[Trace, ...], lengths: Tensor) -> Tensor:
        """The share of the full model's FLOPs that each row of a batch cost; float [batch]."""
        return self.flops.spent(torch.stack([trace.active for trace in traces]).sum(0), lengths)
