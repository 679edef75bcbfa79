"""How a pool is started."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..device_layout import DeviceLayout
from ..models.config import DType, Qwen3MoeConfig
from ..pacing import SimulatedDevice

MIB = 1 << 20
Mechanism = Literal["page_remap", "peer_copy", "standby", "zero_copy"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PoolOptions:
    """Settings of a pool; all are fixed while it runs, but the number of devices.

    model: a Hugging Face folder. devices: at the start. min_devices: the smallest pool; memory is sized for it.
    dtype: None for the checkpoint's. capacity_bytes: of a device, None for what `min_devices` devices need.
    kv_blocks of block_tokens: a device's cache. max_batch_tokens and max_sequences: of a device's step.
    standbys: booted processes without memory. threads: of a device. hang_seconds: a worker that gives no sign of life
    for so long is killed and replaced. double_held_share: of the experts, what a resize may hold twice at any moment.
    hot_expert_copies: of experts that get the most tokens, on a device; it has memory for so many more. They are seen
    to every `hot_expert_seconds`.
    simulated: the accelerator that every device behaves as, in speed and, where `capacity_bytes` is not given, in
    memory; None for this host as it is.

    without: mechanisms to do without, for measuring what each is worth. Without page_remap a device whose experts
    change has all of them copied to new memory at once; without peer_copy what moves is read from disk; without standby
    a worker is booted from nothing; without zero_copy a worker copies weights into memory of its own.
    """

    model: Path
    devices: int = 1
    min_devices: int = 1
    dtype: DType | None = None
    simulated: SimulatedDevice | None = None
    capacity_bytes: int | None = None
    page_bytes: int = 2 * MIB
    kv_blocks: int = 512
    block_tokens: int = 16
    max_batch_tokens: int = 512
    max_sequences: int = 64
    standbys: int = 1
    threads: int = 1
    hang_seconds: float = 1.5
    double_held_share: float = 0.0125
    hot_expert_copies: int = 0
    hot_expert_seconds: float = 10.0
    without: tuple[Mechanism, ...] = ()

    def layout(self) -> DeviceLayout:
        """The device layout for the model's `config.json`; raises `CheckpointError`."""
        config = Qwen3MoeConfig.from_folder(self.model)
        return DeviceLayout(
            config=config,
            dtype=self.dtype or config.dtype,
            kv_blocks=self.kv_blocks,
            block_tokens=self.block_tokens,
            max_batch_tokens=self.max_batch_tokens,
            page_bytes=self.page_bytes,
        )

    def capacity(self, layout: DeviceLayout) -> int:
        """Memory of a device, bytes."""
        if self.capacity_bytes is not None:
            return self.capacity_bytes
        if self.simulated is not None:
            return self.simulated.capacity_bytes
        share = -(-layout.config.num_experts // self.min_devices)
        copies = 2 if "page_remap" in self.without else 1
        return layout.bytes_on_device(copies * share * len(layout.config.sparse_layers) + self.hot_expert_copies)
