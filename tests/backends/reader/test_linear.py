"""Products at few sizes compute what torch's own do."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from slarag.backends.reader.config import EncoderConfig
from slarag.backends.reader.dynamic_encoder import DynamicEncoder
from slarag.backends.reader.linear import Linear, Packed, can_pack, feed_forward, linear, rows_to_compute
from slarag.backends.reader.model import Reader
from slarag.backends.reader.store import pack, use_bfloat16

needs_packing = pytest.mark.skipif(
    not can_pack(torch.zeros(1, 1, dtype=torch.bfloat16)), reason="this processor has no packed bfloat16 products"
)


def test_few_numbers_of_rows_serve_all() -> None:
    sizes = {rows_to_compute(rows) for rows in range(1, 4097)}
    # oneDNN keeps a thousand compiled products, and the reader has about ten shapes of matrices.
    assert len(sizes) <= 64
    for rows in (1, 16, 17, 64, 65, 1024, 1025, 4096):
        assert rows <= rows_to_compute(rows) < rows + 256


@pytest.mark.parametrize("shape", [(1, 8), (16, 8), (37, 8), (3, 21, 8), (1100, 8), (0, 8)])
@pytest.mark.parametrize("autocast", [False, True])
def test_the_product_is_torchs(shape: tuple[int, ...], autocast: bool) -> None:
    torch.manual_seed(0)
    x, layer = torch.randn(shape), Linear(8, 5)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast), torch.no_grad():
        got, wanted = layer(x), F.linear(x, layer.weight, layer.bias)
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype
    torch.testing.assert_close(got, wanted)


def test_rows_that_fill_up_have_no_gradient() -> None:
    torch.manual_seed(0)
    x, weight, bias = torch.randn(19, 8, requires_grad=True), torch.randn(5, 8, requires_grad=True), torch.randn(5)
    gradients: list[tuple[torch.Tensor, ...]] = []
    for product in (linear, F.linear):
        with torch.autocast("cpu", torch.bfloat16):
            loss = product(x, weight, bias).float().square().sum()
        gradients.append(torch.autograd.grad(loss, (x, weight)))
    for got, wanted in zip(*gradients, strict=True):
        torch.testing.assert_close(got, wanted, rtol=0.02, atol=0.05)


@needs_packing
@pytest.mark.parametrize("shape", [(1, 32), (16, 32), (37, 32), (3, 21, 32), (1100, 32), (0, 32)])
def test_a_packed_product_is_the_plain_one(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x, layer = torch.randn(shape), Linear(32, 48).to(torch.bfloat16)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        wanted = layer(x)
        layer.pack()
        got = layer(x)
    assert got.shape == wanted.shape
    assert got.dtype == wanted.dtype
    torch.testing.assert_close(got, wanted, rtol=0.02, atol=0.02)


@needs_packing
def test_packed_parts_are_those_of_the_whole() -> None:
    torch.manual_seed(0)
    x, layer, sizes = torch.randn(21, 32), Linear(32, 48).to(torch.bfloat16), (16, 32)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        wanted = layer(x).split(sizes, dim=-1)
        layer.pack(*sizes)
        for at, part in enumerate(layer.parts(x, sizes)):
            torch.testing.assert_close(part, wanted[at], rtol=0.02, atol=0.02)
            torch.testing.assert_close(layer.part(x, sizes, at), part)


@needs_packing
def test_a_packed_matrix_is_a_copy() -> None:
    weight, x = torch.ones(16, 32, dtype=torch.bfloat16), torch.ones(1, 32)
    packed = Packed(weight, None)
    weight.zero_()
    assert float(packed(x).float().min()) == 32


@needs_packing
def test_activation_is_a_part_of_the_packed_product() -> None:
    torch.manual_seed(0)
    x, up, down = torch.randn(21, 32), Linear(32, 64).to(torch.bfloat16), Linear(64, 32).to(torch.bfloat16)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        wanted = feed_forward(x, up, down)
        up.pack()
        down.pack()
        torch.testing.assert_close(feed_forward(x, up, down), wanted, rtol=0.03, atol=0.03)


@needs_packing
@pytest.mark.parametrize("budget", [None, 0.6])
@pytest.mark.parametrize("top_k", [1, 2])
def test_a_packed_reader_reads_as_before(budget: float | None, top_k: int) -> None:
    torch.manual_seed(0)
    config = EncoderConfig(
        vocab_size=50, hidden_size=64, num_layers=2, num_heads=2, intermediate_size=128, max_positions=64, experts=3,
        top_k=top_k, shared_size=32, expert_size=32, skip="layer",
    )  # fmt: skip
    reader = Reader(config).eval()
    assert isinstance(reader.encoder, DynamicEncoder)
    use_bfloat16(reader)
    lengths = torch.tensor([30, 21])
    ids, segments = torch.randint(1, 50, (2, 32)), torch.zeros(2, 32, dtype=torch.long)
    budgets = None if budget is None else torch.tensor([budget, 1.0])
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        wanted, before = reader.encoder(ids, segments, lengths, budgets)
        pack(reader)
        got, after = reader.encoder(ids, segments, lengths, budgets)
    for row, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(got[row, :length].float(), wanted[row, :length].float(), rtol=0.1, atol=0.1)
    assert [trace.active.tolist() for trace in after] == [trace.active.tolist() for trace in before]
