"""The parent's embeddings, frozen."""

from __future__ import annotations

from torch import Tensor, nn

from .config import EncoderConfig


class Embeddings(nn.Module):
    """Word, position and segment embeddings of the parent; frozen."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.word = nn.Embedding(config.vocab_size, config.hidden_size)
        self.position = nn.Embedding(config.max_positions, config.hidden_size)
        self.segment = nn.Embedding(2, config.hidden_size)
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, ids: Tensor, segments: Tensor) -> Tensor:
        """`ids` and `segments` are int64 [batch, length]; returns [batch, length, hidden]."""
        position = self.position.weight[: ids.shape[1]]
        return self.norm(self.word(ids) + position + self.segment(segments))
