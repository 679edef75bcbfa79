"""The transformer encoder of the embedded reader.

A post-norm BERT encoder (Devlin et al., 2019) written out so that its layers can later be expanded, skipped or routed
(DLO, arXiv 2407.11030). Its weights start from all-MiniLM-L6-v2; the embeddings stay the parent's and are not shipped.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Sizes of the encoder. All in units of elements; `max_positions` in tokens."""

    vocab_size: int = 30522
    hidden_size: int = 384
    num_layers: int = 6
    num_heads: int = 12
    intermediate_size: int = 1536
    max_positions: int = 512
    layer_norm_eps: float = 1e-12

    def to_dict(self) -> dict[str, int | float]:
        """The fields as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_parent(cls, folder: Path) -> EncoderConfig:
        """Read the sizes from a Hugging Face BERT `config.json` in `folder`."""
        raw = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return cls(
            vocab_size=raw["vocab_size"],
            hidden_size=raw["hidden_size"],
            num_layers=raw["num_hidden_layers"],
            num_heads=raw["num_attention_heads"],
            intermediate_size=raw["intermediate_size"],
            max_positions=raw["max_position_embeddings"],
            layer_norm_eps=raw["layer_norm_eps"],
        )


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


class EncoderLayer(nn.Module):
    """One post-norm layer: self-attention, then a feed-forward block."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        hidden = config.hidden_size
        self.num_heads = config.num_heads
        self.qkv = nn.Linear(hidden, 3 * hidden)
        self.attention_out = nn.Linear(hidden, hidden)
        self.attention_norm = nn.LayerNorm(hidden, eps=config.layer_norm_eps)
        self.up = nn.Linear(hidden, config.intermediate_size)
        self.down = nn.Linear(config.intermediate_size, hidden)
        self.output_norm = nn.LayerNorm(hidden, eps=config.layer_norm_eps)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """`x` is [batch, length, hidden]; `mask` is bool [batch, 1, 1, length], true where a token may be seen."""
        x = self.attention_norm(x + self.attend(x, mask))
        return self.output_norm(x + self.down(F.gelu(self.up(x))))

    def attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Multi-head self-attention of `x` [batch, length, hidden]."""
        batch, length, hidden = x.shape
        heads = self.qkv(x).view(batch, length, 3, self.num_heads, hidden // self.num_heads)
        query, key, value = heads.permute(2, 0, 3, 1, 4)
        attention = _explicit_attention if torch.is_grad_enabled() else F.scaled_dot_product_attention
        mixed = attention(query, key, value, mask)
        return self.attention_out(mixed.transpose(1, 2).reshape(batch, length, hidden))


def _explicit_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    # The backward pass of torch's fused attention takes three times as long as this one's on a CPU (torch 2.13).
    scores = torch.matmul(query * query.shape[-1] ** -0.5, key.transpose(-1, -2))
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return torch.matmul(scores.softmax(-1, dtype=torch.float32).to(value.dtype), value)


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
