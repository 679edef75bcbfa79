"""Attention of some tokens over their rows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from .rows import Rows


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention; all [batch, heads, tokens, size], `mask` bool, true where a key may be seen."""
    if not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(query, key, value, mask)
    # The backward pass of torch's fused attention takes three times as long as this one's on a CPU (torch 2.13).
    scores = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(-1, -2))
    if mask is not None:
        # Added, not filled: the backward pass of a sum has nothing to do.
        hidden = torch.finfo(scores.dtype).min
        scores = scores.add_(torch.zeros_like(mask, dtype=scores.dtype).masked_fill(~mask, hidden))
    return torch.matmul(scores.softmax(-1), value)


def attention_in_rows(query: Tensor, key_value: Tensor, *, asking: Rows, seen: Rows, heads: int) -> Tensor:
    """Attention of the tokens of `asking` over those of the same row of `seen`.

    `query` is [tokens of asking, hidden], `key_value` [tokens of seen, 2 hidden]; returns the query's shape.
    """
    mask = None if seen.real is None else seen.real[:, None, None, :]
    key, value = seen.spread(key_value).chunk(2, dim=-1)
    mixed = attention(_heads(asking.spread(query), heads), _heads(key, heads), _heads(value, heads), mask)
    return asking.laid(mixed.transpose(1, 2).flatten(2))


def _heads(x: Tensor, heads: int) -> Tensor:
    batch, length, hidden = x.shape
    return x.view(batch, length, heads, hidden // heads).transpose(1, 2)
