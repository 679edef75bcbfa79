"""A device's memory as tensors: weights and cache are mapped, never loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ..device_layout import KV, SHARED, WORKSPACE, DeviceLayout
from ..memory.arena import Region
from ..memory.pages import Run
from ..memory.space import AddressSpace
from ..models.config import Qwen3MoeConfig
from ..models.experts import ExpertWeights
from ..models.layout import block_shape
from ..models.paged import PagedKV


def _space_for(num_bytes: int, page_bytes: int) -> AddressSpace:
    """Address space for a region, in one piece."""
    return AddressSpace(max(1, -(-num_bytes // page_bytes)) * page_bytes, page_bytes)


class Workspace:
    """Through which a device's activations reach its peers. Both [rows, hidden]: `sent` by it, `received` by peers.

    Of use once it is mapped.
    """

    def __init__(self, layout: DeviceLayout) -> None:
        self._space = _space_for(layout.workspace_bytes, layout.page_bytes)
        flat = torch.frombuffer(self._space.view(0, layout.workspace_bytes), dtype=getattr(torch, layout.dtype))
        self.sent, self.received = flat.view(2, layout.workspace_rows, layout.config.hidden_size).unbind(0)

    def map(self, file: int, region: Region) -> None:
        """Put a device's region under it."""
        self._space.map(0, file, region.runs)

    def close(self) -> None:
        """Let go of the mapping; the tensors may not be used any more."""
        self._space.close()


WeightsOf = Callable[[Sequence[Tensor], Qwen3MoeConfig], ExpertWeights]
"""Makes the experts of a layer from the flat memory of each."""


class ExpertSpace:
    """One stable address per expert of the model, whether it is here or not.

    Taking an expert in puts its pages under its address; giving it away takes them out. Nothing that holds a view of
    another expert, or of this one before it was taken in, notices. private: experts are copied, not mapped.
    """

    def __init__(
        self, layout: DeviceLayout, *, private: bool = False, weights_of: WeightsOf = ExpertWeights.of
    ) -> None:
        self._is_private = private
        self._weights_of = weights_of
        self._stride = -(-layout.expert_bytes // layout.page_bytes) * layout.page_bytes
        self._layers = {layer: index for index, layer in enumerate(layout.config.sparse_layers)}
        self._num_experts = layout.config.num_experts
        slots = len(self._layers) * self._num_experts
        self._space = AddressSpace(max(slots * self._stride, layout.page_bytes), layout.page_bytes)
        self.weights = {layer: self._weights(layout, layer) for layer in self._layers}

    def take_in(self, file: int, experts: Iterable[tuple[int, int, Iterable[Run]]]) -> None:
        """Map (layer, expert, runs of its pages)."""
        for layer, expert, runs in experts:
            (self._space.fill if self._is_private else self._space.map)(self._offset(layer, expert), file, runs)

    def give_away(self, experts: Iterable[tuple[int, int]]) -> None:
        """Unmap (layer, expert); no call may use them any more."""
        for layer, expert in experts:
            self._space.unmap(self._offset(layer, expert), self._stride)

    def _offset(self, layer: int, expert: int) -> int:
        return (self._layers[layer] * self._num_experts + expert) * self._stride

    def _weights(self, layout: DeviceLayout, layer: int) -> ExpertWeights:
        dtype = getattr(torch, layout.dtype)
        places = (self._space.view(self._offset(layer, e), layout.expert_bytes) for e in range(self._num_experts))
        return self._weights_of([torch.frombuffer(place, dtype=dtype) for place in places], layout.config)


class DeviceMemory:
    """What a worker maps of its own device. private: weights are copied instead, as where processes share nothing.

    All addresses are known before there is a device: what is made of them takes longer than to map it.
    """

    def __init__(
        self, layout: DeviceLayout, *, private: bool = False, weights_of: WeightsOf = ExpertWeights.of
    ) -> None:
        self.layout = layout
        self._is_private = private
        self.workspace = Workspace(layout)
        sizes = layout.sizes()
        self._shared, self._kv = (_space_for(sizes[name], layout.page_bytes) for name in (SHARED, KV))
        self.experts = ExpertSpace(layout, private=private, weights_of=weights_of)

    def map(self, file: int, regions: Mapping[str, Region]) -> None:
        """Put a device's regions there, but for its experts."""
        self.workspace.map(file, regions[WORKSPACE])
        (self._shared.fill if self._is_private else self._shared.map)(0, file, regions[SHARED].runs)
        self._kv.map(0, file, regions[KV].runs)

    def shared(self, offset: int, num_bytes: int) -> memoryview:
        """A part of the shared region."""
        return self._shared.view(offset, num_bytes)

    def weights(self) -> dict[str, Tensor]:
        """The shared weights by name."""
        dtype = getattr(torch, self.layout.dtype)
        return {
            name: torch.frombuffer(self.shared(offset, spec.elements * dtype.itemsize), dtype=dtype).view(spec.shape)
            for name, (spec, offset) in self.layout.shared_offsets.items()
        }

    def cache(self) -> PagedKV:
        """The KV blocks."""
        layout = self.layout
        data = self._kv.view(0, layout.kv_blocks * layout.block_bytes)
        flat = torch.frombuffer(data, dtype=getattr(torch, layout.dtype))
        return PagedKV(flat.view(layout.kv_blocks, *block_shape(layout.config, layout.block_tokens)))
