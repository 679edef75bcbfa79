"""What a model is computed with, on torch; `kernels.native` has faster forms of some of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor

from .config import Qwen3MoeConfig
from .experts import ExpertWeights, Group, Share, combine, gated_mlp, group_rows
from .paged import Batch, PagedKV, Prefill

_FEW_TOKENS = 64
"""A step of so many takes one thread: waking others costs more than they save."""


@dataclass(frozen=True, slots=True)
class AttentionStep:
    """What attention needs beside its input. q_norm and k_norm: [head size]. rotation: see `Qwen3Moe`."""

    layer: int
    batch: Batch
    cache: PagedKV
    q_norm: Tensor
    k_norm: Tensor
    rotation: tuple[Tensor, Tensor]


class Operations:
    """The operations of one model."""

    def __init__(self, config: Qwen3MoeConfig) -> None:
        self.config = config

    def use_threads(self, threads: int, tokens: int) -> None:
        """Compute the next step, of so many tokens, on up to `threads` threads."""
        torch.set_num_threads(1 if tokens <= _FEW_TOKENS else threads)

    def linear(self, rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """rows: [n, inputs]. weight: [outputs, inputs]. Returns [n, outputs]."""
        return F.linear(rows, weight, bias)

    def feed_forward(self, rows: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        """SwiGLU of rows [n, hidden] through gate_up [2 * inner, hidden] and down [hidden, inner]."""
        return gated_mlp(rows, gate_up, down)

    def add_norm(self, hidden: Tensor, delta: Tensor | None, weight: Tensor) -> Tensor:
        """Add `delta` to `hidden` in place; returns the RMS norm of the sum. All [tokens, hidden]."""
        if delta is not None:
            hidden += delta
        return F.rms_norm(hidden, weight.shape, weight, self.config.rms_norm_eps)

    def route(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """The experts of each token, int64 [tokens, k], and their weights [tokens, k], from [tokens, experts]."""
        shares = F.softmax(scores, dim=-1, dtype=torch.float32)
        weights, chosen = cast("tuple[Tensor, Tensor]", shares.topk(self.config.experts_per_token, dim=-1))
        if self.config.norm_topk_prob:
            weights = weights / weights.sum(dim=-1, keepdim=True)
        return chosen, weights.to(scores.dtype)

    def attend(self, packed: Tensor, step: AttentionStep) -> Tensor:
        """Store the new keys and values and attend to all. packed: queries, keys and values, [tokens, heads * size].

        Returns [tokens, query heads * size]. `packed` may be changed.
        """
        config, eps = self.config, self.config.rms_norm_eps
        heads = packed.view(len(packed), -1, config.head_dim)
        queries, keys, values = heads.split((config.num_heads, config.num_kv_heads, config.num_kv_heads), dim=1)
        queries = _rotate(F.rms_norm(queries, step.q_norm.shape, step.q_norm, eps), step.rotation)
        keys = _rotate(F.rms_norm(keys, step.k_norm.shape, step.k_norm, eps), step.rotation)
        step.cache.write(step.layer, step.batch, keys, values)
        mixed = torch.empty_like(queries)
        rows = step.batch.decode_rows
        if len(rows):
            mixed[rows] = _decode(queries[rows], step)
        self._attend_prefills(queries, keys, values, step, mixed)
        return mixed.flatten(1)

    def _attend_prefills(
        self, queries: Tensor, keys: Tensor, values: Tensor, step: AttentionStep, mixed: Tensor
    ) -> None:
        """Of the segments with more than one token, into `mixed`; all [tokens, heads, size]."""
        for prefill in step.batch.prefills:
            if prefill.mask is None:
                found = keys[prefill.rows].transpose(0, 1)[None], values[prefill.rows].transpose(0, 1)[None]
            else:
                found = _read(prefill, step)
            mixed[prefill.rows] = _causal(queries[prefill.rows].transpose(0, 1)[None], *found, prefill.mask)

    def mix_experts(self, experts: ExpertWeights, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """Each token through its chosen experts, all of them here; see `Experts.run`."""
        order, counts = group_rows(chosen, len(experts.views))
        rows = hidden[order // chosen.shape[1]]
        out, start, groups = torch.empty_like(rows), 0, list[Group]()
        for expert, count in enumerate(counts):
            groups.append((expert, start, count))
            start += count
        self.run_shares(experts, [Share(groups, rows, out)])
        return combine(out, order, weights)

    def run_shares(self, experts: ExpertWeights, shares: Sequence[Share]) -> None:
        """Run groups of rows, of several callers perhaps, through their experts."""
        for share in shares:
            for expert, start, count in share.groups:
                if count:
                    gate_up, down = experts.views[expert]
                    share.out[start : start + count] = gated_mlp(share.rows[start : start + count], gate_up, down)


def _rotate(heads: Tensor, rotation: tuple[Tensor, Tensor]) -> Tensor:
    cosines, sines = (torch.cat((half, half), dim=-1)[:, None].to(heads.dtype) for half in rotation)
    first, second = heads.chunk(2, dim=-1)
    return heads * cosines + torch.cat((-second, first), dim=-1) * sines


def _decode(queries: Tensor, step: AttentionStep) -> Tensor:
    """One new token a sequence. The query heads of a KV head take the place of query positions: nothing is repeated."""
    keys, values = step.cache.read(step.layer, step.batch.decode_table)
    grouped = queries.view(len(queries), keys.shape[1], -1, queries.shape[-1])
    mask = step.batch.decode_mask
    return F.scaled_dot_product_attention(grouped, keys, values, attn_mask=mask).reshape(queries.shape)


def _read(prefill: Prefill, step: AttentionStep) -> tuple[Tensor, Tensor]:
    keys, values = step.cache.read(step.layer, prefill.table)
    return keys[:, :, : prefill.context], values[:, :, : prefill.context]


def _causal(queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None) -> Tensor:
    found = F.scaled_dot_product_attention(
        queries, keys, values, attn_mask=mask, is_causal=mask is None, enable_gqa=True
    )
    return found[0].transpose(0, 1)
