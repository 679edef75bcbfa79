"""How weights get into a device's memory: from another device's, or from disk where that is taken away."""

from __future__ import annotations

from collections.abc import Sequence

from ..device_layout import SHARED, DeviceLayout, expert_region
from ..placement import Move
from .memory_line import MemoryLine
from .options import PoolOptions


class Transfer:
    """Fills regions that exist. Calls return the bytes."""

    def __init__(self, options: PoolOptions, layout: DeviceLayout) -> None:
        self._folder = str(options.model)
        self._layout = layout
        self._is_peer_to_peer = "peer_copy" not in options.without

    async def shared(self, line: MemoryLine, source: int, target: int) -> int:
        """The shared weights."""
        if self._is_peer_to_peer:
            return await line.copy(source, target, [SHARED])
        for dtype, placed in self._layout.shared_loads(target).items():
            await line.load(self._folder, placed, dtype)
        return self._layout.shared_bytes

    async def experts(self, line: MemoryLine, moves: Sequence[Move]) -> int:
        """Experts that all have the same source and the same target."""
        source, target = moves[0].source, moves[0].target
        if self._is_peer_to_peer:
            return await line.copy(source, target, [expert_region(move.layer, move.expert) for move in moves])
        placed = [part for m in moves for part in self._layout.expert_parts(target, m.layer, m.expert)]
        await line.load(self._folder, placed, self._layout.dtype)
        return len(moves) * self._layout.expert_bytes
