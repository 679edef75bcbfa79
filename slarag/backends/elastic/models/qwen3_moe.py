"""Qwen3-MoE: a decoder with query and key norms, grouped-query attention, and top-k experts.

Follows `transformers` (models/qwen3_moe) operation by operation where the result depends on it; what differs is where
the keys and values are (a paged cache) and where the experts run (behind `Experts`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from .checkpoint import Checkpoint
from .config import Qwen3MoeConfig
from .experts import Experts, gated_mlp, read_tensor
from .layout import shared_tensors
from .paged import Batch, PagedKV, Prefill


def load_shared(checkpoint: Checkpoint, config: Qwen3MoeConfig) -> dict[str, Tensor]:
    """Read everything but the experts into ordinary memory."""
    return {spec.name: read_tensor(checkpoint, spec, config.dtype) for spec in shared_tensors(config)}


class Qwen3Moe:
    """The model over weights named as in `layout.shared_tensors`."""

    def __init__(self, config: Qwen3MoeConfig, weights: Mapping[str, Tensor], experts: Experts) -> None:
        self.config = config
        self._weights = weights
        self._experts = experts
        self._lm_head = weights["embed" if config.tie_embeddings else "lm_head"]
        exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float32) / config.head_dim
        self._frequencies = 1.0 / (config.rope_theta**exponents)

    @torch.inference_mode()
    def forward(self, batch: Batch, cache: PagedKV) -> Tensor:
        """Run the batch's tokens and store their keys and values; returns the final states [tokens, hidden]."""
        hidden = F.embedding(batch.tokens, self._weights["embed"])
        rotation = self._rotation(batch.positions, hidden.dtype)
        for layer in range(self.config.num_layers):
            normed = self._norm(hidden, f"layers.{layer}.input_norm")
            hidden = hidden + self._attention(layer, normed, rotation, batch, cache)
            normed = self._norm(hidden, f"layers.{layer}.post_norm")
            hidden = hidden + self._feed_forward(layer, normed)
        return self._norm(hidden, "norm")

    @torch.inference_mode()
    def logits(self, states: Tensor) -> Tensor:
        """Next-token logits of final states: float32 [rows, vocabulary]."""
        return F.linear(states, self._lm_head).float()

    def _norm(self, hidden: Tensor, name: str) -> Tensor:
        weight = self._weights[name]
        return F.rms_norm(hidden, weight.shape, weight, self.config.rms_norm_eps)

    def _rotation(self, positions: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the rotary embedding, each [tokens, 1, head size]."""
        angles = positions[:, None].float() * self._frequencies
        angles = torch.cat((angles, angles), dim=-1)[:, None, :]
        return angles.cos().to(dtype), angles.sin().to(dtype)

    def _attention(
        self, layer: int, hidden: Tensor, rotation: tuple[Tensor, Tensor], batch: Batch, cache: PagedKV
    ) -> Tensor:
        config, prefix = self.config, f"layers.{layer}."
        queries_and_keys = config.num_heads + config.num_kv_heads
        packed = F.linear(hidden, self._weights[prefix + "qkv"], self._weights.get(prefix + "qkv_bias"))
        heads = packed.view(len(hidden), -1, config.head_dim)
        queries = _rotate(self._norm(heads[:, : config.num_heads], prefix + "q_norm"), rotation)
        keys = _rotate(self._norm(heads[:, config.num_heads : queries_and_keys], prefix + "k_norm"), rotation)
        cache.write(layer, batch, keys, heads[:, queries_and_keys:])
        mixed = torch.empty_like(queries)
        if len(batch.decode_rows):
            mixed[batch.decode_rows] = _decode(queries[batch.decode_rows], layer, batch, cache)
        for prefill in batch.prefills:
            mixed[prefill.rows] = _prefill(queries[prefill.rows], layer, prefill, cache)
        return F.linear(mixed.flatten(1), self._weights[prefix + "o"], self._weights.get(prefix + "o_bias"))

    def _feed_forward(self, layer: int, hidden: Tensor) -> Tensor:
        prefix = f"layers.{layer}."
        if not self.config.is_sparse(layer):
            return gated_mlp(hidden, self._weights[prefix + "gate_up"], self._weights[prefix + "down"])
        scores = F.softmax(F.linear(hidden, self._weights[prefix + "router"]), dim=-1, dtype=torch.float32)
        weights, chosen = cast("tuple[Tensor, Tensor]", scores.topk(self.config.experts_per_token, dim=-1))
        if self.config.norm_topk_prob:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        return self._experts.run(layer, hidden, chosen, weights.to(hidden.dtype))


def _rotate(heads: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cosines, sines = rotation
    first, second = heads.chunk(2, dim=-1)
    return heads * cosines + torch.cat((-second, first), dim=-1) * sines


def _decode(queries: Tensor, layer: int, batch: Batch, cache: PagedKV) -> Tensor:
    """One new token a sequence. The query heads of a KV head take the place of query positions: nothing is repeated."""
    keys, values = cache.read(layer, batch.decode_table)
    grouped = queries.view(len(queries), keys.shape[1], -1, queries.shape[-1])
    return F.scaled_dot_product_attention(grouped, keys, values, attn_mask=batch.decode_mask).reshape(queries.shape)


def _prefill(queries: Tensor, layer: int, prefill: Prefill, cache: PagedKV) -> Tensor:
    keys, values = (found[:, :, : prefill.context] for found in cache.read(layer, prefill.table))
    repeats = queries.shape[1] // keys.shape[1]
    mixed = F.scaled_dot_product_attention(
        queries.transpose(0, 1).unsqueeze(0),
        keys.repeat_interleave(repeats, dim=1),
        values.repeat_interleave(repeats, dim=1),
        attn_mask=prefill.mask,
        is_causal=prefill.mask is None,
    )
    return mixed.squeeze(0).transpose(0, 1)
