"""The experts of the whole pool, as the model asks for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..models.experts import combine, group_rows
from .device_memory import Workspace
from .exchange import Exchange, Group


class DistributedExperts:
    """Sends each token's activations to the devices that hold its experts, and mixes what comes back.

    The mix adds in the order of the router's choices, so its result does not depend on where the experts are.
    """

    def __init__(self, exchange: Exchange, workspace: Workspace, num_experts: int) -> None:
        self._exchange = exchange
        self._workspace = workspace
        self._rank = torch.arange(num_experts)
        self._owners: Mapping[int, Sequence[int]] = {}
        self._after: list[Callable[[], None]] = []
        self._is_running = False

    def place(self, owners: Mapping[int, Sequence[int]], gone: Sequence[int], done: Callable[[], None]) -> None:
        """Use new owners from now on; `done` is called once no call to the old ones is out."""
        self._owners = owners
        for device in gone:
            self._exchange.reroute(device, lambda layer, expert: self._owners[layer][expert], self._run_here)
        if self._is_running:
            self._after.append(done)
        else:
            done()

    def run(self, layer: int, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """See `models.experts.Experts.run`."""
        self._exchange.pump(0)
        order, counts = group_rows(chosen, self._rank)
        torch.index_select(hidden, 0, order // chosen.shape[1], out=self._workspace.sent[: len(order)])
        self._is_running = True
        self._dispatch(layer, counts)
        self._exchange.wait()
        self._is_running = False
        mixed = combine(self._workspace.received[: len(order)], order, weights)
        while self._after:
            self._after.pop(0)()
        return mixed

    def _dispatch(self, layer: int, counts: Sequence[int]) -> None:
        shares: dict[int, list[Group]] = {}
        start = 0
        for expert, count in enumerate(counts):
            if count:
                shares.setdefault(self._owners[layer][expert], []).append((expert, start, count))
                start += count
        own = shares.pop(self._exchange.device, [])
        for device, groups in shares.items():
            self._exchange.call(device, layer, groups)
        self._run_here(layer, own)

    def _run_here(self, layer: int, groups: Sequence[Group]) -> None:
        self._exchange.run_groups(layer, groups, self._workspace.sent, self._workspace.received)
