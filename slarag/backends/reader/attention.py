"""Attention of some tokens over their rows."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention; all [batch, heads, tokens, size], `mask` bool, true where a key may be seen."""
    if not torch.is_grad_enabled():
        return F.scaled_dot_product_attention(query, key, value, mask)
    # The backward pass of torch's fused attention takes three times as long as this one's on a CPU (torch 2.13).
    scores = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(-1, -2))
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return torch.matmul(scores.softmax(-1, dtype=torch.float32).to(value.dtype), value)
