"""The operations of a model on compiled kernels, where a step has so few rows that torch's calls cost more."""

from __future__ import annotations

import ctypes
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ..models.config import Qwen3MoeConfig
from ..models.experts import ExpertWeights, Share
from ..models.operations import AttentionStep, Operations
from ..models.paged import PagedKV
from .build import library

_MOST_ROWS = 32
"""Of a matrix product; with more, torch is as fast or faster (measured: 256 x 512 in bfloat16 on one Zen 4 core)."""
_MOST_ROWS_OF_AN_EXPERT = 16
_P, _I, _F = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
_SIGNATURES: dict[str, list[Any]] = {
    "linear": [_P, _I, _I, _P, _I, _P],
    "add_norm": [_P, _P, _I, _I, _P, _F, _P],
    "route": [_P, _I, _I, _I, _I, _P, _P],
    "prepare": [_P, _I, _I, _P, _P, _P, _P, _F, _P, _P, _P, _P],
    "attend": [_P, _I, _P, _I, _I, _P, _P, _P, _I, _P, _F, _P],
    "mix_experts": [_P, _I, _I, _I, _P, _I, _P, _P, _I, _P],
    "run_groups": [_I, _I, _P, _P, _I],
}


def operations_for(config: Qwen3MoeConfig) -> Operations:
    """Compiled operations where this machine has them, torch's otherwise."""
    return Operations(config) if library() is None else NativeOperations(config)


class NativeOperations(Operations):
    """See `Operations`. Tensors are contiguous; all are of the model's type but indices, which are int64."""

    def __init__(self, config: Qwen3MoeConfig) -> None:
        super().__init__(config)
        found = library()
        if found is None:
            raise RuntimeError("no kernels on this machine")
        self._call: dict[str, Callable[..., None]] = {}
        for name, types in _SIGNATURES.items():
            function = getattr(found, f"{name}_{config.dtype}")
            function.argtypes, function.restype = types, None
            self._call[name] = function

    def linear(self, rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Operations.linear`."""
        count, inputs = rows.shape
        if count > _MOST_ROWS or bias is not None:
            return super().linear(rows, weight, bias)
        outputs = len(weight)
        out = rows.new_empty((count, outputs))
        self._call["linear"](rows.data_ptr(), count, inputs, weight.data_ptr(), outputs, out.data_ptr())
        return out

    def add_norm(self, hidden: Tensor, delta: Tensor | None, weight: Tensor) -> Tensor:
        """See `Operations.add_norm`."""
        normed, added = torch.empty_like(hidden), None if delta is None else delta.data_ptr()
        shape, eps = hidden.shape, self.config.rms_norm_eps
        self._call["add_norm"](hidden.data_ptr(), added, *shape, weight.data_ptr(), eps, normed.data_ptr())
        return normed

    def route(self, scores: Tensor) -> tuple[Tensor, Tensor]:
        """See `Operations.route`."""
        count, k = len(scores), self.config.experts_per_token
        chosen, weights = scores.new_empty((count, k), dtype=torch.int64), scores.new_empty((count, k))
        sizes = (*scores.shape, k, self.config.norm_topk_prob)
        self._call["route"](scores.data_ptr(), *sizes, chosen.data_ptr(), weights.data_ptr())
        return chosen, weights

    def attend(self, packed: Tensor, step: AttentionStep) -> Tensor:
        """See `Operations.attend`; queries and keys are turned where they are, blocks are read where they lie."""
        config, batch = self.config, step.batch
        data, sizes = _layer_of(step.cache, step.layer)
        norms = step.q_norm.data_ptr(), step.k_norm.data_ptr(), config.rms_norm_eps
        places = [t.data_ptr() for t in (*step.rotation, batch.blocks, batch.offsets)]
        self._call["prepare"](packed.data_ptr(), len(packed), config.num_heads, data, sizes, *norms, *places)
        mixed = packed.new_empty((len(packed), config.num_heads * config.head_dim))
        if len(batch.decode_rows):
            self._decode(packed, step, mixed)
        if batch.prefills:
            heads = packed.view(len(packed), -1, config.head_dim)
            queries, keys, values = heads.split((config.num_heads, config.num_kv_heads, config.num_kv_heads), dim=1)
            self.attend_prefills(queries, keys, values, step, mixed.view(len(mixed), config.num_heads, -1))
        return mixed

    def _decode(self, packed: Tensor, step: AttentionStep, mixed: Tensor) -> None:
        batch, heads = step.batch, self.config.num_heads
        data, sizes = _layer_of(step.cache, step.layer)
        rows, table, lengths = batch.decode_rows, batch.decode_table, batch.decode_lengths
        queries = packed.data_ptr(), packed.shape[1], rows.data_ptr(), len(rows), heads
        blocks = table.data_ptr(), table.shape[1], lengths.data_ptr()
        self._call["attend"](*queries, data, sizes, *blocks, self.config.head_dim**-0.5, mixed.data_ptr())

    def mix_experts(self, experts: ExpertWeights, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """See `Operations.mix_experts`."""
        tokens, k = chosen.shape
        count = len(experts.views)
        if tokens * k > _MOST_ROWS_OF_AN_EXPERT * count:
            return super().mix_experts(experts, hidden, chosen, weights)
        out = torch.empty_like(hidden)
        sizes = tokens, self.config.hidden_size, self.config.moe_intermediate_size, experts.addresses.data_ptr(), count
        routes = chosen.data_ptr(), weights.data_ptr(), k
        self._call["mix_experts"](hidden.data_ptr(), *sizes, *routes, out.data_ptr())
        return out

    def run_shares(self, experts: ExpertWeights, shares: Sequence[Share]) -> None:
        """See `Operations.run_shares`; an expert's weights are read once for all shares."""
        entries: list[tuple[int, int, int, int]] = []
        for share in shares:
            row_bytes = share.rows.stride(0) * share.rows.element_size()
            rows, out = share.rows.data_ptr(), share.out.data_ptr()
            few = [group for group in share.groups if group[2] <= _MOST_ROWS]
            entries += [(e, rows + start * row_bytes, out + start * row_bytes, count) for e, start, count in few]
            if len(few) < len(share.groups):
                many = [group for group in share.groups if group[2] > _MOST_ROWS]
                super().run_shares(experts, [Share(many, share.rows, share.out)])
        flat = array("q", [value for entry in sorted(entries) for value in entry])
        sizes = self.config.hidden_size, self.config.moe_intermediate_size, experts.addresses.data_ptr()
        self._call["run_groups"](*sizes, flat.buffer_info()[0], len(entries))


def _layer_of(cache: PagedKV, layer: int) -> tuple[int, Any]:
    """Where a layer of the first block is, and the sizes that `kernels.cpp` calls `Cache`."""
    data = cache.data
    sizes = (data.stride(0), data.stride(2), data.shape[3], data.shape[4], data.shape[5])
    return data.data_ptr() + layer * data.stride(1) * data.element_size(), (_I * 5)(*sizes)
