"""Qwen3-MoE: a decoder with query and key norms, grouped-query attention, and top-k experts.

Follows `transformers` (models/qwen3_moe) operation by operation where the result depends on it; what differs is where
the keys and values are (a paged cache) and where the experts run (behind `Experts`).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from .checkpoint import Checkpoint
from .config import Qwen3MoeConfig
from .experts import Experts, read_tensor
from .layout import shared_tensors
from .operations import AttentionStep, Operations
from .paged import Batch, PagedKV


def load_shared(checkpoint: Checkpoint, config: Qwen3MoeConfig) -> dict[str, Tensor]:
    """Read everything but the experts into ordinary memory."""
    return {spec.name: read_tensor(checkpoint, spec, config.dtype) for spec in shared_tensors(config)}


class Qwen3Moe:
    """The model over weights named as in `layout.shared_tensors`. threads: most of a step."""

    def __init__(
        self, operations: Operations, weights: Mapping[str, Tensor], experts: Experts, *, threads: int = 1
    ) -> None:
        self._threads = threads
        self.config = operations.config
        self._operations = operations
        self._weights = weights
        self._experts = experts
        self._lm_head = weights["embed" if self.config.tie_embeddings else "lm_head"]
        exponents = torch.arange(0, self.config.head_dim, 2, dtype=torch.float32) / self.config.head_dim
        self._frequencies = 1.0 / (self.config.rope_theta**exponents)

    @torch.inference_mode()
    def forward(self, batch: Batch, cache: PagedKV) -> Tensor:
        """Run the batch's tokens and store their keys and values; returns the final states [tokens, hidden]."""
        self._operations.use_threads(self._threads, len(batch.tokens))
        hidden = F.embedding(batch.tokens, self._weights["embed"])
        rotation = self._rotation(batch.positions)
        delta: Tensor | None = None
        for layer in range(self.config.num_layers):
            normed = self._norm(hidden, delta, f"layers.{layer}.input_norm")
            delta = self._attention(layer, normed, rotation, batch, cache)
            normed = self._norm(hidden, delta, f"layers.{layer}.post_norm")
            delta = self._feed_forward(layer, normed)
        return self._norm(hidden, delta, "norm")

    @torch.inference_mode()
    def logits(self, states: Tensor) -> Tensor:
        """Next-token logits of final states: float32 [rows, vocabulary]."""
        return self._operations.linear(states, self._lm_head).float()

    def _norm(self, hidden: Tensor, delta: Tensor | None, name: str) -> Tensor:
        return self._operations.add_norm(hidden, delta, self._weights[name])

    def _rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the rotary embedding, each float32 [tokens, head size / 2]."""
        angles = positions[:, None].float() * self._frequencies
        return angles.cos(), angles.sin()

    def _attention(
        self, layer: int, hidden: Tensor, rotation: tuple[Tensor, Tensor], batch: Batch, cache: PagedKV
    ) -> Tensor:
        weights, linear, prefix = self._weights, self._operations.linear, f"layers.{layer}."
        packed = linear(hidden, weights[prefix + "qkv"], weights.get(prefix + "qkv_bias"))
        norms = weights[prefix + "q_norm"], weights[prefix + "k_norm"]
        mixed = self._operations.attend(packed, AttentionStep(layer, batch, cache, *norms, rotation))
        return linear(mixed, weights[prefix + "o"], weights.get(prefix + "o_bias"))

    def _feed_forward(self, layer: int, hidden: Tensor) -> Tensor:
        prefix = f"layers.{layer}."
        if not self.config.is_sparse(layer):
            weights = self._weights[prefix + "gate_up"], self._weights[prefix + "down"]
            return self._operations.feed_forward(hidden, *weights)
        scores = self._operations.linear(hidden, self._weights[prefix + "router"])
        chosen, weights = self._operations.route(scores)
        return self._experts.run(layer, hidden, chosen, weights)
