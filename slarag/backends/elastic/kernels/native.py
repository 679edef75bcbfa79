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
"""Of a matrix product where sixteen lanes are several registers: with more, torch is as fast or faster."""
_MOST_ROWS_OF_AN_EXPERT = 16
_P, _I, _F = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
_SIGNATURES: dict[str, list[Any]] = {
    "linear": [_P, _I, _I, _P, _P, _I, _P],
    "feed_forward": [_P, _I, _P, _P, _I, _I, _P],
    "add_norm": [_P, _P, _I, _I, _P, _F, _P],
    "route": [_P, _I, _I, _I, _I, _P, _P],
    "prepare": [_P, _I, _I, _P, _P, _P, _P, _F, _P, _P, _P, _P],
    "attend": [_P, _I, _P, _I, _I, _P, _P, _P, _I, _P, _F, _P],
    "attend_spans": [_P, _I, _P, _I, _I, _P, _P, _F, _P],
    "mix_experts": [_P, _I, _I, _I, _P, _I, _P, _P, _I, _P],
    "run_groups": [_I, _I, _P, _I, _P, _I],
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
        self._library = found
        self._is_wide = bool(found.is_wide())
        self._threads = 0
        self._call: dict[str, Callable[..., None]] = {}
        for name, types in _SIGNATURES.items():
            function = getattr(found, f"{name}_{config.dtype}")
            function.argtypes, function.restype = types, None
            self._call[name] = function

    def use_threads(self, threads: int, tokens: int) -> None:
        """See `Operations.use_threads`. What is left to torch is small, and its waiting threads would be in the way."""
        if not self._is_wide:
            super().use_threads(threads, tokens)
        elif threads != self._threads:
            self._threads = threads
            self._library.set_threads(_I(threads))
            torch.set_num_threads(1)

    def linear(self, rows: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        """See `Operations.linear`."""
        count, inputs = rows.shape
        if self._is_for_torch(count):
            return super().linear(rows, weight, bias)
        outputs = len(weight)
        out = rows.new_empty((count, outputs))
        added = None if bias is None else bias.data_ptr()
        self._call["linear"](rows.data_ptr(), count, inputs, weight.data_ptr(), added, outputs, out.data_ptr())
        return out

    def feed_forward(self, rows: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        """See `Operations.feed_forward`."""
        if self._is_for_torch(len(rows)):
            return super().feed_forward(rows, gate_up, down)
        out = torch.empty_like(rows)
        weights = gate_up.data_ptr(), down.data_ptr(), *down.shape
        self._call["feed_forward"](rows.data_ptr(), len(rows), *weights, out.data_ptr())
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
        queries, ends = (packed.data_ptr(), packed.shape[1]), (config.head_dim**-0.5, mixed.data_ptr())
        if rows := len(batch.decode_rows):
            table, lengths = batch.decode_table, batch.decode_lengths.data_ptr()
            of_rows = batch.decode_rows.data_ptr(), rows, config.num_heads
            blocks = table.data_ptr(), table.shape[1], lengths
            self._call["attend"](*queries, *of_rows, data, sizes, *blocks, *ends)
        if batch.prefills:
            spans = batch.prefill_spans.buffer_info()[0], len(batch.prefills), config.num_heads
            self._call["attend_spans"](*queries, *spans, data, sizes, *ends)
        return mixed

    def mix_experts(self, experts: ExpertWeights, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """See `Operations.mix_experts`."""
        tokens, k = chosen.shape
        count = len(experts.views)
        if not self._is_wide and tokens * k > _MOST_ROWS_OF_AN_EXPERT * count:
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
            few = [group for group in share.groups if not self._is_for_torch(group[2])]
            entries += [(e, rows + start * row_bytes, out + start * row_bytes, count) for e, start, count in few]
            if len(few) < len(share.groups):
                many = [group for group in share.groups if self._is_for_torch(group[2])]
                super().run_shares(experts, [Share(many, share.rows, share.out)])
        flat = array("q", [value for entry in sorted(entries) for value in entry])
        sizes = self.config.hidden_size, self.config.moe_intermediate_size
        where = experts.addresses.data_ptr(), len(experts.views)
        self._call["run_groups"](*sizes, *where, flat.buffer_info()[0], len(entries))

    def _is_for_torch(self, rows: int) -> bool:
        return rows > _MOST_ROWS and not self._is_wide


def _layer_of(cache: PagedKV, layer: int) -> tuple[int, Any]:
    """Where a layer of the first block is, and the sizes that `attention.h` calls `Cache`."""
    data = cache.data
    sizes = (data.stride(0), data.stride(2), data.shape[3], data.shape[4], data.shape[5])
    return data.data_ptr() + layer * data.stride(1) * data.element_size(), (_I * 5)(*sizes)
