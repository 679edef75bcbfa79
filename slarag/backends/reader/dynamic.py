"""Encoder layers that experts, a null expert and a gate make dynamic (DLO, arXiv 2407.11030, and beyond it)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .attention import attention
from .config import EncoderConfig
from .depth import Active, choose_active
from .experts import RoutedFeedForward
from .labels import Teacher

GATE_PULL = 0.05
"""How far DLO lets a router's probability scale a feed-forward block's output (arXiv 2407.11030, section 3)."""


@dataclass(frozen=True, slots=True)
class Trace:
    """What happened in one layer.

    null: the null expert's logits of all real tokens [tokens], None without one. active: tokens that were active in
    each row, int64 [batch]. experts: how many of them each expert took, int64 [experts]. balance: the load-balance loss
    of Switch transformers (Fedus et al., 2022), 1 at best.
    """

    null: Tensor | None
    active: Tensor
    experts: Tensor | None
    balance: Tensor | None


@dataclass(frozen=True, slots=True)
class Rows:
    """A padded batch.

    lengths: int64 [batch]. mask: bool [batch, 1, 1, length]. flat: its real tokens end to end, None without padding.
    """

    lengths: Tensor
    mask: Tensor | None
    flat: Tensor | None


class DenseFeedForward(nn.Module):
    """The parent's feed-forward block."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.hidden_size, config.intermediate_size)
        self.down = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """`x` is [..., hidden]."""
        return self.down(F.gelu(self.up(x)))


class DynamicLayer(nn.Module):
    """One post-norm layer whose tokens are routed to experts or past it.

    The residual stream of a post-norm layer passes its norms, so zeroed projections do not make the layer an identity;
    an added layer instead stands behind a gate that starts at zero: x + gate * (layer(x) - x).
    """

    def __init__(self, config: EncoderConfig, *, added: bool) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.config = config
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.attention_out = nn.Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, eps=config.layer_norm_eps)
        self.output_norm = nn.LayerNorm(hidden, eps=config.layer_norm_eps)
        self.feed_forward = (
            RoutedFeedForward(hidden, config.shared_size, config.expert_size, config.experts, config.top_k)
            if config.experts
            else DenseFeedForward(config)
        )
        self.router = nn.Linear(hidden, config.router_outputs) if config.router_outputs else None
        self.gate = nn.Parameter(torch.zeros(hidden)) if added else None
        if self.router is not None:
            nn.init.normal_(self.router.weight, std=0.02)
            nn.init.zeros_(self.router.bias)
            if config.skip != "none":
                nn.init.zeros_(self.router.weight[-1])

    def forward(self, x: Tensor, rows: Rows, shares: Tensor | None, teacher: Teacher | None) -> tuple[Tensor, Trace]:
        """`x` is [batch, length, hidden]; `shares` [batch] of the tokens are active, None for all of them."""
        if self.config.skip == "feed_forward":
            return self._skip_feed_forward(x, rows, shares, teacher)
        logits = self._route(x)
        active = self._active(logits, rows, shares)
        before = x if active is None else _gather(x, active.index)
        flat = rows.flat if active is None else active.flat
        attended = self.attention_norm(before + self._attend(before, x, rows.mask))
        tokens = _at(attended, rows.flat) if active is None else attended[active.real]
        old = _at(x, flat)
        routed = None if logits is None else _at(logits, flat)
        new, chosen = self._fed(tokens, routed)
        new = self._gated(old, new)
        if teacher is not None and routed is not None and self.config.skip != "none":
            new = teacher.mark(new, old, routed[:, -1], rows=len(x))
        return _put(x, flat, new), self._trace(logits, routed, chosen, rows, active)

    def _skip_feed_forward(
        self, x: Tensor, rows: Rows, shares: Tensor | None, teacher: Teacher | None
    ) -> tuple[Tensor, Trace]:
        attended = self.attention_norm(x + self._attend(x, x, rows.mask))
        logits = self._route(attended)
        active = self._active(logits, rows, shares)
        flat = rows.flat if active is None else active.flat
        old = _at(attended, flat)
        routed = None if logits is None else _at(logits, flat)
        scale = 1 + GATE_PULL * (torch.sigmoid(-routed[:, -1:].float()) - 0.5) if routed is not None else 1.0
        inner, chosen = self._inner(old, routed)
        new = self.output_norm(old + inner * scale)
        if teacher is not None and routed is not None:
            new = teacher.mark(new, old, routed[:, -1], rows=len(x))
        if self.gate is None:
            return _put(attended, flat, new), self._trace(logits, routed, chosen, rows, active)
        out = _put(attended, flat, new)
        return x + self.gate * (out - x), self._trace(logits, routed, chosen, rows, active)

    def _route(self, x: Tensor) -> Tensor | None:
        if self.router is None:
            return None
        # Routes decide what runs, so they are computed in full precision.
        with torch.autocast(x.device.type, enabled=False):
            return self.router(x.float())

    def _active(self, logits: Tensor | None, rows: Rows, shares: Tensor | None) -> Active | None:
        if logits is None or shares is None or self.config.skip == "none":
            return None
        return choose_active(logits[..., -1].detach(), shares, rows.lengths)

    def _attend(self, queries: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
        hidden, heads = x.shape[-1], self.config.num_heads
        if queries is x:
            query, key, value = self.qkv(x).split(hidden, dim=-1)
        else:
            weight, bias = self.qkv.weight, self.qkv.bias
            query = F.linear(queries, weight[:hidden], bias[:hidden])
            key, value = F.linear(x, weight[hidden:], bias[hidden:]).split(hidden, dim=-1)
        mixed = attention(_heads(query, heads), _heads(key, heads), _heads(value, heads), mask)
        return self.attention_out(mixed.transpose(1, 2).reshape(queries.shape))

    def _inner(self, tokens: Tensor, routed: Tensor | None) -> tuple[Tensor, Tensor | None]:
        if isinstance(self.feed_forward, RoutedFeedForward):
            assert routed is not None
            return self.feed_forward(tokens, routed[:, : self.config.experts])
        return self.feed_forward(tokens), None

    def _fed(self, tokens: Tensor, routed: Tensor | None) -> tuple[Tensor, Tensor | None]:
        inner, chosen = self._inner(tokens, routed)
        return self.output_norm(tokens + inner), chosen

    def _gated(self, old: Tensor, new: Tensor) -> Tensor:
        return new if self.gate is None else old + self.gate * (new - old)

    def _trace(
        self, logits: Tensor | None, routed: Tensor | None, chosen: Tensor | None, rows: Rows, active: Active | None
    ) -> Trace:
        counts = rows.lengths if active is None else active.real.sum(-1)
        null = None
        if logits is not None and self.config.skip != "none":
            null = _at(logits, rows.flat)[:, -1].detach()
        if chosen is None or routed is None:
            return Trace(null, counts, None, None)
        experts = self.config.experts
        taken = torch.bincount(chosen.reshape(-1), minlength=experts)
        share = taken.float() / max(1, chosen.numel())
        probability = routed[:, :experts].float().softmax(-1).mean(0)
        return Trace(null, counts, taken, experts * (share * probability).sum())


def _heads(x: Tensor, heads: int) -> Tensor:
    batch, length, hidden = x.shape
    return x.view(batch, length, heads, hidden // heads).transpose(1, 2)


def _gather(x: Tensor, index: Tensor) -> Tensor:
    return x.gather(1, index.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


def _at(x: Tensor, flat: Tensor | None) -> Tensor:
    """The tokens `flat` of a batch laid end to end; None for all of them."""
    together = x.reshape(-1, x.shape[-1])
    return together if flat is None else together[flat]


def _put(x: Tensor, flat: Tensor | None, new: Tensor) -> Tensor:
    if flat is None:
        return new.view(x.shape)
    return x.reshape(-1, x.shape[-1]).index_copy(0, flat, new.to(x.dtype)).view(x.shape)
