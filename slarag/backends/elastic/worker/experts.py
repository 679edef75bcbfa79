"""The experts of the whole pool, as the model asks for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ..models.experts import Group, Share, combine, group_rows
from ..models.operations import Operations
from .device_memory import DeviceMemory
from .exchange import Exchange
from .routes import Owners, Routes

_FEW_ROWS_OF_AN_EXPERT = 16
"""On average: with more, reading an expert's weights once for two devices' rows saves next to nothing."""


class DistributedExperts:
    """Sends each token's activations to the devices that hold its experts, and mixes what comes back.

    The mix adds in the order of the router's choices, so its result does not depend on where the experts are. Another
    thread may have it `switch`; all else is for the thread that runs it.
    """

    def __init__(self, exchange: Exchange, memory: DeviceMemory, operations: Operations) -> None:
        config = operations.config
        self._exchange = exchange
        self._operations = operations
        self._workspace = memory.workspace
        self._weights = memory.experts.weights
        self._counts = {layer: torch.zeros(config.num_experts, dtype=torch.int64) for layer in config.sparse_layers}
        self._num_experts = config.num_experts
        self._placing = threading.Lock()
        self._routes = Routes(exchange.device, {})
        self._after: list[Callable[[], None]] = []
        self._called: tuple[int, Routes] | None = None
        self._previous = 0
        self._following = dict(zip(config.sparse_layers, (*config.sparse_layers[1:], None), strict=False))

    def place(self, owners: Owners, gone: Sequence[int], done: Callable[[], None]) -> None:
        """Use new owners from now on; `done` is called once no call to the old ones is out.

        That is at once, unless a call is out for a layer whose owners are others now. gone: what had been asked of
        these devices is asked of the new owners.
        """
        routes = Routes(self._exchange.device, owners)
        is_done = self._use(lambda _: routes, done)
        for device in gone:
            self._exchange.reroute(device, partial(self._dispatch, routes))
        if is_done:
            done()

    def switch(self, moves: Sequence[tuple[int, int, int]], done: Callable[[], None]) -> None:
        """The same for experts (layer, expert, device) that have moved, from any thread."""
        if self._use(lambda routes: routes.after(moves), done):
            done()

    def _use(self, change: Callable[[Routes], Routes], done: Callable[[], None]) -> bool:
        """Use changed routes; whether no call to what they replace is out, else `done` is kept until then."""
        with self._placing:
            self._routes = change(self._routes)
            is_out = self._called is not None and self._routes.differs(self._called[1], self._called[0])
            if is_out:
                self._after.append(done)
            return not is_out

    def take_counts(self) -> list[list[int]]:
        """How many tokens were sent to each expert, by layer with experts, since this was last asked."""
        counts = [count.tolist() for count in self._counts.values()]
        for count in self._counts.values():
            count.zero_()
        return counts

    def run(self, layer: int, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        """See `models.experts.Experts.run`."""
        self._counts[layer] += torch.bincount(chosen.view(-1), minlength=self._num_experts)
        # Before the routes are looked at: a placement that arrives here and is confirmed must hold for what follows.
        self._exchange.collect(layer)
        with self._placing:
            routes = self._routes
            self._called = layer, routes
        if routes.is_here(layer):
            mixed = self._operations.mix_experts(self._weights[layer], hidden, chosen, weights)
        else:
            mixed = self._run_together(routes, layer, hidden, chosen, weights)
        with self._placing:
            self._called = None
            confirmed, self._after = self._after, []
        for done in confirmed:
            done()
        return mixed

    def _run_together(self, routes: Routes, layer: int, hidden: Tensor, chosen: Tensor, weights: Tensor) -> Tensor:
        order, counts = group_rows(chosen, self._num_experts)
        torch.index_select(hidden, 0, order // chosen.shape[1], out=self._workspace.sent[: len(order)])
        groups: list[Group] = []
        start = 0
        for expert, count in enumerate(counts):
            if count:
                groups.append((expert, start, count))
                start += count
        is_few = len(order) <= _FEW_ROWS_OF_AN_EXPERT * self._num_experts
        after = self._previous if is_few and self._previous < layer else None
        self._dispatch(routes, layer, groups, after)
        self._exchange.wait(following=self._following[layer])
        self._previous = layer
        return combine(self._workspace.received[: len(order)], order, weights)

    def _dispatch(self, routes: Routes, layer: int, groups: Sequence[Group], after: int | None = None) -> None:
        shares = routes.split(layer, groups)
        own = shares.pop(self._exchange.device, ())
        for device, share in shares.items():
            self._exchange.call(device, layer, share)
        self._exchange.run(layer, Share(own, self._workspace.sent, self._workspace.received), after=after)
