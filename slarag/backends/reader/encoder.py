"""The transformer encoder of the dense reader.

A post-norm BERT encoder (Devlin et al., 2019) written out; `dynamic_encoder` is the one with experts and a budget. Its
weights start from all-MiniLM-L6-v2; the embeddings stay the parent's and are not shipped.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .attention import attention
from .config import EncoderConfig
from .embeddings import Embeddings
from .linear import Linear, feed_forward


class EncoderLayer(nn.Module):
    """One post-norm layer: self-attention, then a feed-forward block."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.num_heads = config.num_heads
        self.qkv = Linear(hidden, 3 * hidden)
        self.attention_out = Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, eps=config.layer_norm_eps)
        self.up = Linear(hidden, config.intermediate_size)
        self.down = Linear(config.intermediate_size, hidden)
        self.output_norm = nn.LayerNorm(hidden, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """`x` is [batch, length, hidden]; `mask` is bool [batch, 1, 1, length], true where a token may be seen."""
        x = self.attention_norm(x + self.attend(x, mask))
        return self.output_norm(x + feed_forward(x, self.up, self.down))

    def attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Multi-head self-attention of `x` [batch, length, hidden]."""
        batch, length, hidden = x.shape
        heads = self.qkv(x).view(batch, length, 3, self.num_heads, hidden // self.num_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        mixed = attention(query, key, value, mask)
        return self.attention_out(mixed.transpose(1, 2).reshape(batch, length, hidden))


class Encoder(nn.Module):
    """Embeddings and a stack of layers."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_layers))

    def forward(self, ids: Tensor, segments: Tensor, lengths: Tensor) -> Tensor:
        """Encode a padded batch.

        `ids`, `segments`: int64 [batch, length]; `lengths`: int64 [batch], real tokens of each row.
        Returns the last hidden states [batch, length, hidden]; rows past a length are padding and mean nothing.
        """
        mask = None
        if int(lengths.min()) < ids.shape[1]:
            positions = torch.arange(ids.shape[1], device=ids.device)
            mask = (positions < lengths[:, None])[:, None, None, :]
        x = self.embeddings(ids, segments)
        for layer in self.layers:
            x = layer(x, mask)
        return x
