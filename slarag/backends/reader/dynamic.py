"""Encoder layers that experts, a null expert and a gate make dynamic (DLO, arXiv 2407.11030, and beyond it)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .attention import attention_in_rows
from .config import EncoderConfig
from .depth import Active, Choose, choose_active
from .experts import RoutedFeedForward
from .labels import Teacher
from .linear import Linear, feed_forward
from .rows import Rows

GATE_PULL = 0.05
"""How far DLO lets a router's probability scale a feed-forward block's output (arXiv 2407.11030, section 3)."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What happened in one layer.

    null: the null expert's logits of all real tokens [tokens], None without one. active: tokens that were active in
    each row, int64 [batch]. experts: how many of them each expert took, int64 [experts]. balance: the load-balance loss
    of Switch transformers (Fedus et al., 2022), 1 at best; None where nothing is trained.
    """

    null: Tensor | None
    active: Tensor
    experts: Tensor | None
    balance: Tensor | None


class DenseFeedForward(nn.Module):
    """The parent's feed-forward block."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.up = Linear(config.hidden_size, config.intermediate_size)
        self.down = Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """`x` is [..., hidden]."""
        return feed_forward(x, self.up, self.down)


class DynamicLayer(nn.Module):
    """One post-norm layer whose tokens are routed to experts or past it.

    The residual stream of a post-norm layer passes its norms, so zeroed projections do not make the layer an identity;
    an added layer instead stands behind a gate that starts at zero: x + gate * (layer(x) - x).

    choose: which tokens are active.
    """

    def __init__(self, config: EncoderConfig, *, added: bool) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.config = config
        self.qkv = Linear(hidden, 3 * hidden)
        self.attention_out = Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, eps=config.layer_norm_eps)
        self.output_norm = nn.LayerNorm(hidden, eps=config.layer_norm_eps)
        self.feed_forward = (
            RoutedFeedForward(hidden, config.shared_size, config.expert_size, config.experts, config.top_k)
            if config.experts
            else DenseFeedForward(config)
        )
        self.choose: Choose = choose_active
        # DLO's router is a direction in the layer's input and nothing else.
        has_bias = config.skip != "feed_forward"
        self.router = nn.Linear(hidden, config.router_outputs, bias=has_bias) if config.router_outputs else None
        self.gate = nn.Parameter(torch.zeros(hidden)) if added else None
        if self.router is not None:
            nn.init.normal_(self.router.weight, std=0.02)
            if has_bias:
                nn.init.zeros_(self.router.bias)
            if config.skip != "none":
                nn.init.zeros_(self.router.weight[-1])

    def forward(self, x: Tensor, rows: Rows, counts: Tensor | None, teacher: Teacher | None) -> tuple[Tensor, Trace]:
        """`x` is [tokens, hidden], of `rows`; `counts` of them, int64 [batch], are active, None for all.

        Where no gradient is wanted `x` is changed in place.
        """
        if self.config.skip == "feed_forward":
            return self._skip_feed_forward(x, rows, counts, teacher)
        logits = self._route(x)
        active = self._active(logits, rows, counts)
        old, routed = _at(x, active), None if logits is None else _at(logits, active)
        attended = self.attention_norm(old + self._attend(old, x, rows if active is None else active.rows, rows))
        inner, chosen = self._inner(attended, routed)
        new = self._gated(old, self.output_norm(attended + inner))
        if teacher is not None and routed is not None and self.config.skip != "none":
            new = teacher.mark(new, old, routed[:, -1], rows=len(rows.sizes))
        return _put(x, active, new), self._trace(logits, routed, chosen, rows, active)

    def _skip_feed_forward(
        self, x: Tensor, rows: Rows, counts: Tensor | None, teacher: Teacher | None
    ) -> tuple[Tensor, Trace]:
        logits = self._route(x)
        assert logits is not None
        attended = self.attention_norm(x + self._attend(x, x, rows, rows))
        active = self._active(logits, rows, counts)
        old, routed = _at(attended, active), _at(logits, active)
        new, chosen = self._fed(old, routed)
        if teacher is not None and teacher.sees_all and active is not None:
            whole = self._with_skipped(new, attended, logits, active)
            teacher.mark(whole, attended, logits[:, -1], rows=len(rows.sizes))
        elif teacher is not None:
            new = teacher.mark(new, old, routed[:, -1], rows=len(rows.sizes))
        return self._gated(x, _put(attended, active, new)), self._trace(logits, routed, chosen, rows, active)

    def _fed(self, tokens: Tensor, routed: Tensor) -> tuple[Tensor, Tensor | None]:
        """What the feed-forward block makes of `tokens`, and the chosen experts."""
        scale = 1 + GATE_PULL * (torch.sigmoid(-routed[:, -1:].float()) - 0.5)
        inner, chosen = self._inner(tokens, routed)
        return self.output_norm(tokens + inner * scale), chosen

    @torch.no_grad()
    def _with_skipped(self, new: Tensor, old: Tensor, logits: Tensor, active: Active) -> Tensor:
        """What the block makes of all tokens `old`: `new` of the active ones, the others run for this only."""
        others = active.others(len(old))
        fed, _ = self._fed(old[others], logits[others])
        return torch.empty_like(old).index_copy(0, active.index, new.to(old.dtype)).index_copy(0, others, fed)

    def _route(self, x: Tensor) -> Tensor | None:
        if self.router is None:
            return None
        # Routes decide what runs, so they are computed in full precision.
        with torch.autocast(x.device.type, enabled=False):
            return self.router(x.float())

    def _active(self, logits: Tensor | None, rows: Rows, counts: Tensor | None) -> Active | None:
        if logits is None or self.config.skip == "none":
            return None
        return self.choose(logits[:, -1].detach(), counts, rows)

    def _attend(self, asking: Tensor, x: Tensor, asking_rows: Rows, rows: Rows) -> Tensor:
        sizes = self._query_sizes
        if asking is x:
            query, key_value = self.qkv.parts(x, sizes)
        else:
            query, key_value = self.qkv.part(asking, sizes, 0), self.qkv.part(x, sizes, 1)
        mixed = attention_in_rows(query, key_value, asking=asking_rows, seen=rows, heads=self.config.num_heads)
        return self.attention_out(mixed)

    def pack(self) -> None:
        """Lay the projections of the attention out for fast reading; tokens that are skipped have no query."""
        self.qkv.pack(*self._query_sizes)
        self.attention_out.pack()

    @property
    def _query_sizes(self) -> tuple[int, int]:
        return self.config.hidden_size, 2 * self.config.hidden_size

    def _inner(self, tokens: Tensor, routed: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if isinstance(self.feed_forward, RoutedFeedForward):
            assert routed is not None
            return self.feed_forward(tokens, routed[:, : self.config.experts])
        return self.feed_forward(tokens), None

    def _gated(self, old: Tensor, new: Tensor) -> Tensor:
        if self.gate is None:
            return new
        return old + self.gate * (new - old) if torch.is_grad_enabled() else torch.lerp(old, new, self.gate)

    def _trace(
        self, logits: Tensor | None, routed: Tensor | None, chosen: Tensor | None, rows: Rows, active: Active | None
    ) -> Trace:
        counts = rows.lengths if active is None else active.rows.lengths
        null = logits[:, -1].detach() if logits is not None and self.config.skip != "none" else None
        if chosen is None or routed is None:
            return Trace(null, counts, None, None)
        experts = self.config.experts
        taken = torch.bincount(chosen.reshape(-1), minlength=experts)
        if not torch.is_grad_enabled():
            return Trace(null, counts, taken, None)
        share = taken.float() / max(1, chosen.numel())
        probability = routed[:, :experts].float().softmax(-1).mean(0)
        return Trace(null, counts, taken, experts * (share * probability).sum())


def _at(x: Tensor, active: Active | None) -> Tensor:
    return x if active is None else x[active.index]


def _put(x: Tensor, active: Active | None, new: Tensor) -> Tensor:
    if active is None:
        return new
    new = new.to(x.dtype)
    return x.index_copy(0, active.index, new) if torch.is_grad_enabled() else x.index_copy_(0, active.index, new)
