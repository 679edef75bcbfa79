"""Running the experts that a router chose, wherever their weights are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .checkpoint import Checkpoint
from .config import BYTES_OF, Qwen3MoeConfig
from .layout import TensorSpec, expert_tensor


class Experts(Protocol):
    """What a model asks for."""

    def run(self, layer: int, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """Mix the chosen experts' outputs.

        hidden: [tokens, hidden]. chosen: int64 [tokens, k]. weights: [tokens, k]. Returns [tokens, hidden].
        """
        ...


def expert_views(flat: Tensor, config: Qwen3MoeConfig) -> tuple[Tensor, Tensor]:
    """The projections of an expert stored flat: gate and up [2 * inner, hidden], down [hidden, inner]."""
    hidden, inner = config.hidden_size, config.moe_intermediate_size
    size = hidden * inner
    return flat[: 2 * size].view(2 * inner, hidden), flat[2 * size : 3 * size].view(hidden, inner)


def gated_mlp(hidden: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """SwiGLU: down(silu(gate(x)) * up(x))."""
    gate, up = F.linear(hidden, gate_up).chunk(2, dim=-1)
    return F.linear(F.silu(gate) * up, down)


def group_rows(chosen: Tensor, num_experts: int) -> tuple[Tensor, Tensor]:
    """Sort the (token, choice) pairs by expert.

    chosen: int64 [tokens, k]. Returns the order of the flattened pairs and the number of pairs by expert, both int64.
    """
    flat = chosen.reshape(-1)
    return torch.argsort(flat, stable=True), torch.bincount(flat, minlength=num_experts)


def run_rows(rows: Tensor, counts: Sequence[int], experts: Sequence[tuple[Tensor, Tensor]], out: Tensor) -> None:
    """Run consecutive groups of `rows` through `experts`, group by group, into `out` of the same shape."""
    start = 0
    for count, (gate_up, down) in zip(counts, experts, strict=True):
        if count:
            out[start : start + count] = gated_mlp(rows[start : start + count], gate_up, down)
            start += count


def combine(sorted_rows: Tensor, order: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of each token's outputs, in the order of its choices: the same sum wherever the experts ran."""
    tokens, k = weights.shape
    rows = torch.empty_like(sorted_rows)
    rows[order] = sorted_rows
    return torch.bmm(weights.unsqueeze(1), rows.view(tokens, k, -1)).squeeze(1)


def read_tensor(checkpoint: Checkpoint, spec: TensorSpec, dtype: str) -> Tensor:
    """Read `spec` into ordinary memory."""
    buffer = bytearray(spec.elements * BYTES_OF[dtype])
    checkpoint.fill(spec, memoryview(buffer), dtype)
    return torch.frombuffer(buffer, dtype=getattr(torch, dtype)).view(spec.shape)


class LocalExperts:
    """All experts in this process; the reference for the distributed ones."""

    def __init__(self, config: Qwen3MoeConfig, weights: Mapping[tuple[int, int], Tensor]) -> None:
        self._experts = {
            layer: [expert_views(weights[layer, expert], config) for expert in range(config.num_experts)]
            for layer in config.sparse_layers
        }
        self._num_experts = config.num_experts

    @classmethod
    def load(cls, checkpoint: Checkpoint, config: Qwen3MoeConfig) -> LocalExperts:
        """Read every expert into ordinary memory."""
        weights: dict[tuple[int, int], Tensor] = {}
        for layer in config.sparse_layers:
            for expert in range(config.num_experts):
                weights[layer, expert] = read_tensor(checkpoint, expert_tensor(config, layer, expert), config.dtype)
        return cls(config, weights)

    def run(self, layer: int, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """See `Experts.run`."""
        order, counts = group_rows(chosen, self._num_experts)
        rows = hidden[order // chosen.shape[1]]
        out = torch.empty_like(rows)
        run_rows(rows, counts.tolist(), self._experts[layer], out)
        return combine(out, order, weights)
