"""Products at few sizes compute what torch's own do."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from slarag.backends.reader.linear import Linear, linear, rows_to_compute


def test_few_numbers_of_rows_serve_all() -> None:
    sizes = {rows_to_compute(rows) for rows in range(1, 4097)}
    assert len(sizes) <= 32
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
