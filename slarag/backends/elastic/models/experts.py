"""Running the experts that a router chose, wherever their weights are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .checkpoint import Checkpoint
from .config import BYTES_OF, Qwen3MoeConfig
from .layout import TensorSpec, expert_tensor

if TYPE_CHECKING:
    from .operations import Operations

Group = tuple[int, int, int]
"""Expert, first row, number of rows."""


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


@dataclass(frozen=True, slots=True)
class Share:
    """Groups of `rows` that go through experts into the same rows of `out`, both [n, hidden] without gaps."""

    groups: Sequence[Group]
    rows: Tensor
    out: Tensor


@dataclass(frozen=True, slots=True)
class ExpertWeights:
    """The experts of one layer. views: see `expert_views`. addresses: int64 [experts], where each starts."""

    views: tuple[tuple[Tensor, Tensor], ...]
    addresses: Tensor

    @classmethod
    def of(cls, flats: Iterable[Tensor], config: Qwen3MoeConfig) -> ExpertWeights:
        """Of experts stored flat, which must stay where they are."""
        views = tuple(expert_views(flat, config) for flat in flats)
        return cls(views, torch.tensor([gate_up.data_ptr() for gate_up, _ in views]))


def group_rows(chosen: Tensor, num_experts: int) -> tuple[Tensor, list[int]]:
    """Sort the (token, choice) pairs by expert.

    chosen: int64 [tokens, k]. Returns the order of the flattened pairs and the number of pairs by expert.
    """
    flat = chosen.reshape(-1)
    counts: list[int] = torch.bincount(flat, minlength=num_experts).tolist()
    return torch.argsort(flat, stable=True), counts


def combine(sorted_rows: Tensor, order: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of each token's outputs, in the order of its choices: the same sum wherever the experts ran."""
    tokens, k = weights.shape
    rows = torch.empty_like(sorted_rows)
    rows[order] = sorted_rows
    if k == 1:
        return rows.mul_(weights)
    return torch.bmm(weights.unsqueeze(1), rows.view(tokens, k, -1)).squeeze(1)


def read_tensor(checkpoint: Checkpoint, spec: TensorSpec, dtype: str) -> Tensor:
    """Read `spec` into ordinary memory."""
    buffer = bytearray(spec.elements * BYTES_OF[dtype])
    checkpoint.fill(spec, memoryview(buffer), dtype)
    return torch.frombuffer(buffer, dtype=getattr(torch, dtype)).view(spec.shape)


class LocalExperts:
    """All experts in this process; the reference for the distributed ones."""

    def __init__(self, operations: Operations, weights: Mapping[int, ExpertWeights]) -> None:
        self._operations = operations
        self._weights = weights

    @classmethod
    def load(cls, checkpoint: Checkpoint, operations: Operations) -> LocalExperts:
        """Read every expert into ordinary memory."""
        config = operations.config
        weights: dict[int, ExpertWeights] = {}
        for layer in config.sparse_layers:
            specs = (expert_tensor(config, layer, expert) for expert in range(config.num_experts))
            weights[layer] = ExpertWeights.of([read_tensor(checkpoint, spec, config.dtype) for spec in specs], config)
        return cls(operations, weights)

    def run(self, layer: int, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """See `Experts.run`."""
        return self._operations.mix_experts(self._weights[layer], hidden, chosen, weights)
