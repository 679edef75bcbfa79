"""Calls between devices in one process, and the experts' kernels against torch."""

from __future__ import annotations

import socket
from collections.abc import Generator, Sequence
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor

from slarag.backends.elastic.kernels.native import operations_for
from slarag.backends.elastic.models.config import DType, Qwen3MoeConfig
from slarag.backends.elastic.models.experts import ExpertWeights, Share
from slarag.backends.elastic.models.operations import Operations
from slarag.backends.elastic.worker.device_memory import Workspace
from slarag.backends.elastic.worker.exchange import Exchange, Peer

Ran = list[tuple[int, list[float]]]


class End:
    """One device's exchange; its experts double rows, and it notes each run: the layer and the first of each share."""

    def __init__(self, number: int) -> None:
        self.inbox = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.control = socket.socketpair()
        self.workspace = SimpleNamespace(sent=torch.full((4, 2), float(number)), received=torch.zeros(4, 2))
        self.ran: Ran = []
        self.exchange = Exchange(
            number,
            0,
            inbox=self.inbox[0],
            control=self.control[0],
            run_shares=self._run,
            on_control=lambda: None,
        )

    def know(self, other: End) -> None:
        self.exchange.peers[other.exchange.device] = Peer(other.inbox[1], cast("Workspace", other.workspace))

    def share(self) -> Share:
        return Share([(0, 0, 1)], self.workspace.sent, self.workspace.received)

    def _run(self, layer: int, shares: Sequence[Share]) -> None:
        self.ran.append((layer, [float(share.rows[0, 0]) for share in shares]))
        for share in shares:
            for _, start, count in share.groups:
                share.out[start : start + count] = 2 * share.rows[start : start + count]

    def close(self) -> None:
        for end in (*self.inbox, *self.control):
            end.close()


@pytest.fixture
def ends() -> Generator[Sequence[End]]:
    made = [End(number) for number in (1, 2)]
    made[0].know(made[1])
    made[1].know(made[0])
    yield made
    for end in made:
        end.close()


def test_a_call_for_the_layer_that_is_next_is_run_with_own_rows(ends: Sequence[End]) -> None:
    first, second = ends
    first.exchange.call(2, layer=3, groups=[(0, 1, 2)])
    second.exchange.collect(3)
    assert second.ran == []
    second.exchange.run(3, second.share())
    assert second.ran == [(3, [2.0, 1.0])]
    first.exchange.wait()
    assert first.workspace.received[:, 0].tolist() == [0.0, 2.0, 2.0, 0.0]
    assert second.workspace.received[:, 0].tolist() == [4.0, 0.0, 0.0, 0.0]


def test_a_call_for_another_layer_is_run_at_once(ends: Sequence[End]) -> None:
    first, second = ends
    first.exchange.call(2, layer=1, groups=[(0, 0, 1)])
    second.exchange.collect(3)
    assert second.ran == [(1, [1.0])]
    first.exchange.wait()
    assert not first.exchange.is_waiting


def test_a_call_for_the_layer_after_is_kept_while_own_calls_are_out(ends: Sequence[End]) -> None:
    first, second = ends
    second.exchange.call(1, layer=3, groups=[(0, 0, 1)])
    first.exchange.pump(0)
    first.exchange.call(2, layer=4, groups=[(0, 1, 2)])
    second.exchange.wait(following=4)
    assert second.ran == []
    second.exchange.run(4, second.share())
    assert second.ran == [(4, [2.0, 1.0])]
    first.exchange.call(2, layer=5, groups=[(0, 1, 2)])
    second.exchange.pump(None)
    first.exchange.wait()
    assert second.ran[1:] == [(5, [1.0])]


def test_who_is_a_layer_behind_is_not_waited_for_in_vain(ends: Sequence[End]) -> None:
    first, second = ends
    first.exchange.call(2, layer=0, groups=[(0, 0, 1)])
    second.exchange.pump(0)
    second.exchange.run(1, second.share(), after=0)
    assert second.ran == [(0, [1.0]), (1, [2.0])]


def test_calls_of_a_worker_that_has_a_successor_are_dropped(ends: Sequence[End]) -> None:
    first, second = ends
    first.exchange.call(2, layer=3, groups=[(0, 0, 1)])
    second.exchange.collect(3)
    second.exchange.peer_restarted(1, incarnation=1)
    second.exchange.run(3, second.share())
    assert second.ran == [(3, [2.0])]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("hidden", "inner"), [(64, 32), (80, 37)])
def test_shares_of_several_callers_give_what_torch_gives(dtype: DType, hidden: int, inner: int) -> None:
    config = Qwen3MoeConfig(
        vocab_size=8,
        hidden_size=hidden,
        num_layers=1,
        num_heads=1,
        num_kv_heads=1,
        head_dim=16,
        num_experts=4,
        experts_per_token=2,
        moe_intermediate_size=inner,
        dtype=dtype,
    )
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(getattr(torch, dtype)) * hidden**-0.5

    experts = ExpertWeights.of([draw(config.expert_elements) for _ in range(4)], config)
    rows = [draw(60, hidden), draw(7, hidden)]
    groups = [[(0, 0, 3), (1, 3, 40), (3, 43, 17)], [(0, 0, 1), (2, 1, 4), (3, 5, 2)]]
    results: list[list[Tensor]] = []
    for operations in (Operations(config), operations_for(config)):
        out = [torch.zeros_like(one) for one in rows]
        with torch.inference_mode():
            operations.run_shares(experts, [Share(g, r, o) for g, r, o in zip(groups, rows, out, strict=True)])
        results.append(out)
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 if dtype == "float32" else 2e-3)
