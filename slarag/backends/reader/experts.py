"""A feed-forward block of routed experts.

Upcycled from a dense block (Komatsuzaki et al., 2023) the fine-grained way: the first part of the dense block's inner
units becomes a shared expert that every token passes, the rest is copied into each of the routed experts, of which a
token passes its top k. Before any training the block computes what the dense one did, whatever the router says.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .linear import Linear, Packed, can_pack, feed_forward, linear, packed_feed_forward

RunExperts = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Mixes what the chosen experts make of `x` [tokens, hidden]: `chosen`, int64, by `weight`, both [tokens, top_k]."""


class RoutedFeedForward(nn.Module):
    """`shared` inner units of all tokens and `experts` routed ones of equal size, `top_k` of them for each token.

    Without shared units the bias of what they would give is left. run_experts: runs the routed ones where their weights
    are not in this module.
    """

    run_experts: RunExperts | None = None
    _packed: tuple[tuple[Packed, Packed], ...] = ()

    def __init__(self, hidden: int, shared: int, expert: int, experts: int, top_k: int) -> None:
        super().__init__()
        self.top_k = top_k
        if shared < 0 or min(expert, experts, top_k) < 1 or top_k > experts:
            raise ValueError(f"{shared} shared units, {experts} experts of {expert}, top {top_k}: too few")
        self.shared_up = Linear(hidden, shared) if shared else None
        self.shared_down = Linear(shared, hidden) if shared else None
        self.down_bias = None if shared else nn.Parameter(torch.zeros(hidden))
        self.expert_up = nn.Parameter(torch.empty(experts, expert, hidden))
        self.expert_up_bias = nn.Parameter(torch.zeros(experts, expert))
        self.expert_down = nn.Parameter(torch.empty(experts, hidden, expert))
        nn.init.normal_(self.expert_up, std=0.02)
        nn.init.normal_(self.expert_down, std=0.02)

    def forward(self, x: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        """`x` [tokens, hidden], `logits` [tokens, experts]; returns the block's output and the chosen experts.

        The chosen experts are int64 [tokens, top_k]. An expert's output is weighted by its share of the chosen
        probability; the share is taken out of the value, not out of the gradient, when only one is chosen.
        """
        weight, chosen = self._choose(logits)
        x, output = self._common(x)
        if self.run_experts is not None:
            return output + self.run_experts(x, chosen, weight.to(x.dtype)), chosen
        return output + self._routed(x, chosen, weight), chosen

    def _choose(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        if self.top_k == 1 and not torch.is_grad_enabled():
            return logits.new_ones(len(logits), 1), logits.argmax(-1, keepdim=True)
        probability, chosen = logits.float().softmax(-1).topk(self.top_k, dim=-1)
        return probability / probability.sum(-1, keepdim=True).detach(), chosen

    def _common(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """`x` in the precision that it is computed in, and what every token gets of it."""
        if self.shared_up is None or self.shared_down is None:
            assert self.down_bias is not None
            return x.to(self.down_bias.dtype), self.down_bias
        x = x.to(self.shared_up.weight.dtype)
        return x, feed_forward(x, self.shared_up, self.shared_down)

    def pack(self) -> None:
        """Lay the experts out for fast reading, as they are now."""
        if can_pack(self.expert_up):
            experts = zip(self.expert_up, self.expert_up_bias, self.expert_down, strict=True)
            self._packed = tuple((Packed(up, bias), Packed(down, None)) for up, bias, down in experts)

    def _routed(self, x: Tensor, chosen: Tensor, weight: Tensor) -> Tensor:
        if not len(x):
            return x
        order = chosen.reshape(-1).argsort(stable=True)
        counts = torch.bincount(chosen.reshape(-1), minlength=len(self.expert_up)).tolist()
        token = order // self.top_k
        weighted = torch.cat(self._passed(x, token, counts))
        # The weight of one expert is 1; multiplying by it is for the gradient only.
        if self.top_k > 1 or torch.is_grad_enabled():
            weighted = weighted * weight.reshape(-1)[order].unsqueeze(-1).to(weighted.dtype)
        if self.top_k == 1:
            return torch.empty_like(weighted).index_copy(0, token, weighted)
        return torch.zeros(x.shape, dtype=weighted.dtype, device=x.device).index_add(0, token, weighted)

    def _passed(self, x: Tensor, token: Tensor, counts: list[int]) -> list[Tensor]:
        """What each expert makes of its `counts` of the tokens `token` of `x`."""
        if self._packed:
            parts = zip(x[token].split(counts), self._packed, strict=True)
            return [packed_feed_forward(part, *expert) for part, expert in parts if len(part)]
        # Slices of a stack that autocast turns each by itself would fill a gradient of the whole stack each.
        x, up, down = (one.to(_product_dtype(one)) for one in (x, self.expert_up, self.expert_down))
        experts = zip(x[token].split(counts), up.unbind(), self.expert_up_bias.unbind(), down.unbind(), strict=True)
        return [linear(F.gelu(linear(part, *layer)), last) for part, *layer, last in experts if len(part)]


def _product_dtype(x: Tensor) -> torch.dtype:
    device = x.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else x.dtype
