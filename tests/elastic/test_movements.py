"""Experts that switch devices under a worker that computes: when that is confirmed, and where their rows go."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import torch

from slarag.backends.elastic.models.experts import Group, Share
from slarag.backends.elastic.models.operations import Operations
from slarag.backends.elastic.worker.device_memory import DeviceMemory
from slarag.backends.elastic.worker.exchange import Exchange
from slarag.backends.elastic.worker.experts import DistributedExperts

from .conftest import TINY

CONFIG = replace(TINY, num_experts=4, experts_per_token=1)
LAYER, OTHER = CONFIG.sparse_layers[:2]


class Peers:
    """Device 0's exchange with others that answer at once; `meanwhile` is called while a call is out."""

    device = 0

    def __init__(self) -> None:
        self.called: list[tuple[int, int]] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def collect(self, layer: int) -> None: ...

    def call(self, peer: int, layer: int, groups: Sequence[Group]) -> None:
        self.called += [(peer, expert) for expert, _, _ in groups]

    def run(self, layer: int, own: Share, *, after: int | None = None) -> None:
        self.called += [(0, expert) for expert, _, _ in own.groups]

    def wait(self, following: int | None = None) -> None:
        self.meanwhile()


def in_another_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def spread_over(peers: Peers) -> DistributedExperts:
    rows = SimpleNamespace(sent=torch.zeros(8, CONFIG.hidden_size), received=torch.zeros(8, CONFIG.hidden_size))
    memory = SimpleNamespace(workspace=rows, experts=SimpleNamespace(weights={}))
    experts = DistributedExperts(cast("Exchange", peers), cast("DeviceMemory", memory), Operations(CONFIG))
    experts.place(dict.fromkeys(CONFIG.sparse_layers, ((0,), (0,), (1,), (1,))), (), lambda: None)
    return experts


def ask_all(experts: DistributedExperts) -> None:
    """A row for each expert of `LAYER`."""
    experts.run(LAYER, torch.zeros(4, CONFIG.hidden_size), torch.arange(4)[:, None], torch.ones(4, 1))


def test_what_is_not_under_way_switches_at_once_and_the_rest_when_it_is_answered() -> None:
    peers, confirmed = Peers(), list[int]()
    experts = spread_over(peers)

    def switch() -> None:
        experts.switch([(OTHER, 2, 0)], lambda: confirmed.append(OTHER))
        experts.switch([(LAYER, 2, 0)], lambda: confirmed.append(LAYER))

    def meanwhile() -> None:
        in_another_thread(switch)
        assert confirmed == [OTHER]

    peers.meanwhile = meanwhile
    ask_all(experts)
    assert sorted(peers.called) == [(0, 0), (0, 1), (1, 2), (1, 3)]
    assert confirmed == [OTHER, LAYER]


def test_rows_go_where_an_expert_is_now() -> None:
    peers = Peers()
    experts = spread_over(peers)
    experts.switch([(LAYER, 0, 2), (LAYER, 2, 0)], lambda: None)
    ask_all(experts)
    assert sorted(peers.called) == [(0, 1), (0, 2), (1, 3), (2, 0)]
