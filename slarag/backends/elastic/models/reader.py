"""The embedded reader as the pool holds it: experts spread over the devices, everything else whole on each of them.

Devices read data-parallel, and expert-parallel where the reader has experts: a new device needs a copy of what is whole
and its share of the experts. Each tensor is held in the precision that it computes in.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ...reader.config import EncoderConfig
from ...reader.windows import MAX_WINDOW_TOKENS
from ..device_layout import ALIGN_BYTES, SHARED, DeviceLayout, expert_region
from ..memory.manager import Placed
from .checkpoint import Checkpoint
from .config import BYTES_OF, DType, Qwen3MoeConfig
from .layout import Part

if TYPE_CHECKING:
    from torch import Tensor

    from ...reader.model import Reader

EMBEDDINGS = "encoder.embeddings."
"""What the names of the embeddings' tensors begin with; they are the parent's."""
_PARENT_NAMES = {
    "word.weight": "word_embeddings.weight",
    "position.weight": "position_embeddings.weight",
    "segment.weight": "token_type_embeddings.weight",
    "norm.weight": "LayerNorm.weight",
    "norm.bias": "LayerNorm.bias",
}
_EXPERT = re.compile(r"encoder\.layers\.\d+\.feed_forward\.expert_\w+")


@dataclass(frozen=True, slots=True)
class ReaderTensor:
    """A tensor of the reader on a device. source: its name in the checkpoint. offset: bytes into the shared region."""

    name: str
    source: str
    shape: tuple[int, ...]
    dtype: DType
    offset: int

    @property
    def num_bytes(self) -> int:
        """Its size."""
        return math.prod(self.shape) * BYTES_OF[self.dtype]


@dataclass(frozen=True, kw_only=True)
class ReaderLayout(DeviceLayout):
    """A device's memory for a reader, which has no KV blocks.

    head: what the reader's `reader.json` says. low_precision: whether its matrices are held in bfloat16. tensors: those
    that every device holds.
    """

    head: dict[str, Any]
    low_precision: bool
    tensors: tuple[ReaderTensor, ...]

    @classmethod
    def of(
        cls, folder: Path, *, page_bytes: int, max_batch_tokens: int, low_precision: bool | None = None
    ) -> ReaderLayout:
        """The layout for the reader in `folder`; raises `ConfigurationError` for a folder without one.

        low_precision: None for what this machine's processor is fast at, as `EmbeddedReader` chooses.
        """
        from ....minilm.precision import bfloat16_is_fast
        from ...reader.store import read_head

        head = read_head(folder)
        low = bfloat16_is_fast() if low_precision is None else low_precision
        return cls(
            config=_expert_sizes(EncoderConfig.from_dict(head["config"])),
            dtype="bfloat16" if low else "float32",
            kv_blocks=0,
            block_tokens=0,
            max_batch_tokens=max(max_batch_tokens, MAX_WINDOW_TOKENS),
            page_bytes=page_bytes,
            head=head,
            low_precision=low,
            tensors=_tensors(empty_reader(head, low_precision=low), folder),
        )

    @property
    def max_devices(self) -> int:
        """A device without experts still reads, so that only the host bounds how many there are."""
        return 64

    @property
    def shared_bytes(self) -> int:
        """Size of the shared region, which holds everything but the experts."""
        return max((tensor.offset + tensor.num_bytes for tensor in self.tensors), default=0)

    @property
    def expert_bytes(self) -> int:
        """Size of an expert."""
        return sum(math.prod(shape) for shape in self._expert_shapes.values()) * BYTES_OF[self.dtype]

    @property
    def workspace_rows(self) -> int:
        """See `DeviceLayout.workspace_rows`; there is a workspace where nothing is ever sent, too."""
        return max(1, self.max_batch_tokens * self.config.experts_per_token)

    def shared_loads(self, device: int) -> dict[DType, list[Placed]]:
        """See `DeviceLayout.shared_loads`."""
        loads: dict[DType, list[Placed]] = {}
        for tensor in self.tensors:
            part = Part(tensor.source, tensor.shape, 0)
            loads.setdefault(tensor.dtype, []).append(Placed(part, device, SHARED, tensor.offset, tensor.num_bytes))
        return loads

    def expert_parts(self, device: int, layer: int, expert: int) -> list[Placed]:
        """See `DeviceLayout.expert_parts`; the checkpoint has the experts of a layer stacked."""
        block, region, size = (
            f"encoder.layers.{layer}.feed_forward.",
            expert_region(layer, expert),
            BYTES_OF[self.dtype],
        )
        placed: list[Placed] = []
        end = 0
        for name, shape in self._expert_shapes.items():
            part = Part(f"{block}{name}[{expert}]", shape, end)
            placed.append(Placed(part, device, region, end * size, part.elements * size))
            end += part.elements
        return placed

    @property
    def _expert_shapes(self) -> dict[str, tuple[int, ...]]:
        hidden, inner = self.config.hidden_size, self.config.moe_intermediate_size
        return {"expert_up": (inner, hidden), "expert_up_bias": (inner,), "expert_down": (hidden, inner)}

    @classmethod
    def from_message(cls, raw: dict[str, Any]) -> ReaderLayout:
        """The inverse of `to_message`, after a round trip through JSON."""
        tensors = tuple(ReaderTensor(**(fields | {"shape": tuple(fields["shape"])})) for fields in raw["tensors"])
        fields: dict[str, Any] = raw | {"config": Qwen3MoeConfig.from_dict(raw["config"]), "tensors": tensors}
        return cls(**fields)


def empty_reader(head: Mapping[str, Any], *, low_precision: bool) -> Reader:
    """A reader without values: its tensors have names, shapes and precisions, and no memory."""
    import torch

    from ...reader.store import build_reader, use_bfloat16

    with torch.device("meta"):
        model = build_reader(dict(head))
        if low_precision:
            use_bfloat16(model)
    return model.requires_grad_(requires_grad=False).eval()


def reader_over(layout: ReaderLayout, bytes_at: Callable[[int, int], memoryview]) -> Reader:
    """The reader of `layout` over memory that is there; nothing is copied. Its experts have no values.

    bytes_at: a part of the shared region, by offset and length in bytes.
    """
    import torch

    def view(tensor: ReaderTensor) -> Tensor:
        data = bytes_at(tensor.offset, tensor.num_bytes)
        return torch.frombuffer(data, dtype=getattr(torch, tensor.dtype)).view(tensor.shape)

    model = empty_reader(layout.head, low_precision=layout.low_precision)
    model.load_state_dict({tensor.name: view(tensor) for tensor in layout.tensors}, strict=False, assign=True)
    return model


def _expert_sizes(config: EncoderConfig) -> Qwen3MoeConfig:
    """What the placement and the exchange of experts need to know of a reader."""
    return Qwen3MoeConfig(
        vocab_size=0,
        hidden_size=config.hidden_size,
        num_layers=config.num_layers,
        num_heads=0,
        num_kv_heads=0,
        head_dim=0,
        num_experts=config.experts,
        experts_per_token=config.top_k if config.experts else 0,
        moe_intermediate_size=config.expert_size,
    )


def _tensors(model: Reader, folder: Path) -> tuple[ReaderTensor, ...]:
    checkpoint = Checkpoint.open(folder)
    found: list[ReaderTensor] = []
    end = 0
    for name, tensor in model.state_dict().items():
        if _EXPERT.fullmatch(name):
            continue
        dtype = cast("DType", str(tensor.dtype).removeprefix("torch."))
        found.append(ReaderTensor(name, _source_of(name, checkpoint.names), tuple(tensor.shape), dtype, end))
        end += -(-found[-1].num_bytes // ALIGN_BYTES) * ALIGN_BYTES
    return tuple(found)


def _source_of(name: str, names: frozenset[str]) -> str:
    """The checkpoint's name of a tensor; the embeddings are the parent's, under its own names."""
    if not name.startswith(EMBEDDINGS):
        return name
    theirs = f"embeddings.{_PARENT_NAMES[name.removeprefix(EMBEDDINGS)]}"
    return theirs if theirs in names else f"bert.{theirs}"
