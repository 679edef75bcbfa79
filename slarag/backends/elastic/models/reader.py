"""The embedded reader as the pool holds it: whole on every device, each tensor in the precision it computes in.

Readers work data-parallel: a device shares nothing with others, so that a new one needs a copy of the weights and
nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ..device_layout import ALIGN_BYTES, SHARED, WORKSPACE, DeviceLayout
from ..memory.manager import Placed
from .checkpoint import Checkpoint
from .config import BYTES_OF, DType, Qwen3MoeConfig
from .layout import Part

if TYPE_CHECKING:
    from torch import Tensor

    from ...reader.model import Reader

_EMBEDDINGS = "encoder.embeddings."
_PARENT_NAMES = {
    "word.weight": "word_embeddings.weight",
    "position.weight": "position_embeddings.weight",
    "segment.weight": "token_type_embeddings.weight",
    "norm.weight": "LayerNorm.weight",
    "norm.bias": "LayerNorm.bias",
}
_NOTHING = Qwen3MoeConfig(
    vocab_size=0,
    hidden_size=0,
    num_layers=0,
    num_heads=0,
    num_kv_heads=0,
    head_dim=0,
    num_experts=0,
    experts_per_token=0,
    moe_intermediate_size=0,
)


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
    """A device's memory for a reader: no experts to move and no KV blocks.

    head: what the reader's `reader.json` says. low_precision: whether its matrices are held in bfloat16.
    """

    head: dict[str, Any]
    low_precision: bool
    tensors: tuple[ReaderTensor, ...]

    @classmethod
    def of(cls, folder: Path, *, page_bytes: int, low_precision: bool | None = None) -> ReaderLayout:
        """The layout for the reader in `folder`; raises `ConfigurationError` for a folder without one.

        low_precision: None for what this machine's processor is fast at, as `EmbeddedReader` chooses.
        """
        from ....minilm.precision import bfloat16_is_fast
        from ...reader.store import read_head

        head = read_head(folder)
        low = bfloat16_is_fast() if low_precision is None else low_precision
        return cls(
            config=_NOTHING,
            dtype="float32",
            kv_blocks=0,
            block_tokens=0,
            max_batch_tokens=0,
            page_bytes=page_bytes,
            head=head,
            low_precision=low,
            tensors=_tensors(empty_reader(head, low_precision=low), folder),
        )

    @property
    def max_devices(self) -> int:
        """Each device works alone, so that only the host bounds how many there are."""
        return 64

    @property
    def shared_bytes(self) -> int:
        """Size of the shared region, which holds everything."""
        return max((tensor.offset + tensor.num_bytes for tensor in self.tensors), default=0)

    def sizes(self) -> dict[str, int]:
        """See `DeviceLayout.sizes`."""
        return {SHARED: self.shared_bytes, WORKSPACE: 0}

    def shared_loads(self, device: int) -> dict[DType, list[Placed]]:
        """See `DeviceLayout.shared_loads`."""
        loads: dict[DType, list[Placed]] = {}
        for tensor in self.tensors:
            part = Part(tensor.source, tensor.shape, 0)
            loads.setdefault(tensor.dtype, []).append(Placed(part, device, SHARED, tensor.offset, tensor.num_bytes))
        return loads

    def to_message(self) -> dict[str, Any]:
        """What a worker needs of it, as plain JSON values."""
        return {
            "reader": self.head,
            "low_precision": self.low_precision,
            "page_bytes": self.page_bytes,
            "tensors": [astuple(tensor) for tensor in self.tensors],
        }


def empty_reader(head: Mapping[str, Any], *, low_precision: bool) -> Reader:
    """A reader without values: its tensors have names, shapes and precisions, and no memory."""
    import torch

    from ...reader.store import build_reader, use_bfloat16

    with torch.device("meta"):
        model = build_reader(dict(head))
        if low_precision:
            use_bfloat16(model)
    return model.requires_grad_(requires_grad=False).eval()


def reader_over(message: Mapping[str, Any], bytes_at: Callable[[int, int], memoryview]) -> Reader:
    """The reader that `ReaderLayout.to_message` describes, over memory that is there; nothing is copied.

    bytes_at: a part of the shared region, by offset and length in bytes.
    """
    import torch

    def view(tensor: ReaderTensor) -> Tensor:
        data = bytes_at(tensor.offset, tensor.num_bytes)
        return torch.frombuffer(data, dtype=getattr(torch, tensor.dtype)).view(tensor.shape)

    model = empty_reader(message["reader"], low_precision=message["low_precision"])
    tensors = (ReaderTensor(*fields) for fields in message["tensors"])
    model.load_state_dict({tensor.name: view(tensor) for tensor in tensors}, assign=True)
    return model


def _tensors(model: Reader, folder: Path) -> tuple[ReaderTensor, ...]:
    checkpoint = Checkpoint.open(folder)
    found: list[ReaderTensor] = []
    end = 0
    for name, tensor in model.state_dict().items():
        dtype = cast("DType", str(tensor.dtype).removeprefix("torch."))
        found.append(ReaderTensor(name, _source_of(name, checkpoint.names), tuple(tensor.shape), dtype, end))
        end += -(-found[-1].num_bytes // ALIGN_BYTES) * ALIGN_BYTES
    return tuple(found)


def _source_of(name: str, names: frozenset[str]) -> str:
    """The checkpoint's name of a tensor; the embeddings are the parent's, under its own names."""
    if not name.startswith(_EMBEDDINGS):
        return name
    theirs = f"embeddings.{_PARENT_NAMES[name.removeprefix(_EMBEDDINGS)]}"
    return theirs if theirs in names else f"bert.{theirs}"
