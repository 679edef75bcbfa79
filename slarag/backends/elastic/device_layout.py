"""What lies where in a device's memory: the regions, their sizes, and which checkpoint tensors fill them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from .memory.manager import Placed
from .models.config import BYTES_OF, DType, Qwen3MoeConfig
from .models.layout import TensorSpec, block_bytes, expert_tensor, shared_tensors

SHARED, KV, WORKSPACE = "shared", "kv", "workspace"
ALIGN_BYTES = 64


@dataclass(frozen=True, kw_only=True)
class DeviceLayout:
    """The regions of every device of a pool.

    dtype: of weights, KV blocks and activations. kv_blocks of block_tokens each. max_batch_tokens: most tokens of a
    step; the workspace, through which activations reach other devices, is sized for them. page_bytes: of the arenas.
    """

    config: Qwen3MoeConfig
    dtype: DType
    kv_blocks: int
    block_tokens: int
    max_batch_tokens: int
    page_bytes: int

    @cached_property
    def shared_offsets(self) -> dict[str, tuple[TensorSpec, int]]:
        """The tensors of the shared region and where each starts, bytes."""
        offsets: dict[str, tuple[TensorSpec, int]] = {}
        end = 0
        for spec in shared_tensors(self.config):
            offsets[spec.name] = (spec, end)
            end += -(-spec.elements * BYTES_OF[self.dtype] // ALIGN_BYTES) * ALIGN_BYTES
        return offsets

    @property
    def shared_bytes(self) -> int:
        """Size of the shared region."""
        spec, offset = list(self.shared_offsets.values())[-1]
        return offset + spec.elements * BYTES_OF[self.dtype]

    @property
    def max_tokens(self) -> int:
        """Most tokens of a sequence: what the model knows positions for, and a device's blocks hold."""
        return min(self.config.max_positions, self.kv_blocks * self.block_tokens)

    @property
    def block_bytes(self) -> int:
        """Size of a KV block."""
        return block_bytes(self.config, self.block_tokens, self.dtype)

    @property
    def expert_bytes(self) -> int:
        """Size of an expert."""
        return self.config.expert_elements * BYTES_OF[self.dtype]

    @property
    def workspace_rows(self) -> int:
        """Activations that fit the workspace, in each direction."""
        return self.max_batch_tokens * self.config.experts_per_token

    @property
    def workspace_bytes(self) -> int:
        """Size of the workspace: rows to send, then rows received back."""
        return 2 * self.workspace_rows * self.config.hidden_size * BYTES_OF[self.dtype]

    def sizes(self) -> dict[str, int]:
        """The regions that every device has, bytes by name."""
        return {
            SHARED: self.shared_bytes,
            WORKSPACE: self.workspace_bytes,
            KV: self.kv_blocks * self.block_bytes,
        }

    def expert_sizes(self, experts: Sequence[tuple[int, int]]) -> dict[str, int]:
        """The regions of (layer, expert) pairs."""
        return {expert_region(layer, expert): self.expert_bytes for layer, expert in experts}

    def bytes_on_device(self, num_experts: int) -> int:
        """What a device with `num_experts` experts needs, in whole pages."""
        sizes = [*self.sizes().values(), *[self.expert_bytes] * num_experts]
        return sum(-(-size // self.page_bytes) * self.page_bytes for size in sizes)

    @property
    def max_devices(self) -> int:
        """Devices that a pool may have: each holds an expert of every layer with experts."""
        return max(1, self.config.num_experts)

    def shared_loads(self, device: int) -> dict[DType, list[Placed]]:
        """The checkpoint tensors of the shared region, by the type that they are held in."""
        return {self.dtype: self.shared_parts(device)}

    def shared_parts(self, device: int) -> list[Placed]:
        """The checkpoint tensors of the shared region."""
        placed: list[Placed] = []
        for spec, offset in self.shared_offsets.values():
            placed += self._parts(spec, device, SHARED, offset)
        return placed

    def expert_parts(self, device: int, layer: int, expert: int) -> list[Placed]:
        """The checkpoint tensors of an expert."""
        return self._parts(expert_tensor(self.config, layer, expert), device, expert_region(layer, expert), 0)

    def _parts(self, spec: TensorSpec, device: int, region: str, offset: int) -> list[Placed]:
        size = BYTES_OF[self.dtype]
        return [Placed(p, device, region, offset + p.start * size, p.elements * size) for p in spec.parts]

    def to_message(self) -> dict[str, Any]:
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_message(cls, raw: dict[str, Any]) -> DeviceLayout:
        """The inverse of `to_message`, after a round trip through JSON."""
        fields: dict[str, Any] = raw | {"config": Qwen3MoeConfig.from_dict(raw["config"])}
        return cls(**fields)


def expert_region(layer: int, expert: int) -> str:
    """The name of an expert's region."""
    return f"layers.{layer}.experts.{expert}"
