"""Matrix products at few sizes, and in the layout that the processor reads fastest.

On a CPU torch's bfloat16 products are compiled for each number of rows that they meet, which takes milliseconds,
several times as long as the product itself; a thousand of them are kept. Batches of text have another number of tokens
every time, so the rows are filled up to one of a few numbers. A model that only reads is packed too: its matrices are
laid out once, where a plain product lays them out anew each time, and the activation is a part of the product.
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_PACKED_FOR_ROWS = 256
Activation = Literal["none", "gelu"]


def rows_to_compute(rows: int) -> int:
    """`rows` rounded up to one of few numbers: a multiple of 16, 32 above 64, 64 above 512, 256 above 2,048."""
    step = 16 if rows <= 64 else 32 if rows <= 512 else 64 if rows <= 2048 else 256
    return -(-rows // step) * step


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` of `x` [..., inner]; where it runs in bfloat16, at one of few numbers of rows."""
    rows = x.numel() // x.shape[-1]
    missing = rows_to_compute(rows) - rows
    if missing == 0 or not _in_bfloat16(weight):
        return F.linear(x, weight, bias)
    filled = F.pad(x.reshape(rows, x.shape[-1]), (0, 0, 0, missing))
    return F.linear(filled, weight, bias)[:rows].view(*x.shape[:-1], len(weight))


def filled(x: Tensor) -> Tensor:
    """`x` [rows, inner] in bfloat16, with rows of no meaning up to one of few numbers."""
    rows, inner = x.shape
    missing = rows_to_compute(rows) - rows
    if missing == 0 and x.dtype == torch.bfloat16:
        return x
    wider = torch.empty(rows + missing, inner, dtype=torch.bfloat16)
    wider[:rows] = x
    return wider


class Packed:
    """A bfloat16 matrix [outer, inner] and its bias, laid out for oneDNN; what it is made from may change or go."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._weight = torch.ops.mkldnn._reorder_linear_weight(weight.detach().contiguous(), _PACKED_FOR_ROWS)
        self._bias = None if bias is None else bias.detach().clone()
        self._outer = len(weight)

    def filled(self, x: Tensor, activation: Activation = "none") -> Tensor:
        """The product with `x` [rows, inner] in bfloat16, with rows of no meaning up to one of few numbers."""
        x = filled(x)
        return torch.ops.mkldnn._linear_pointwise(x, self._weight, self._bias, activation, [], "none")

    def __call__(self, x: Tensor) -> Tensor:
        """The product with `x` [..., inner]."""
        flat = x.reshape(-1, x.shape[-1])
        rows = flat.shape[0]
        product = self.filled(flat)[:rows] if rows else flat.new_empty(0, self._outer, dtype=torch.bfloat16)
        return product.view(*x.shape[:-1], self._outer)


def can_pack(weight: Tensor) -> bool:
    """Whether this build of torch and this processor have packed products of matrices like `weight`."""
    return (
        weight.dtype == torch.bfloat16
        and weight.device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    )


def packed_feed_forward(x: Tensor, up: Packed, down: Packed) -> Tensor:
    """`down(gelu(up(x)))` of `x` [tokens, hidden]."""
    return down.filled(up.filled(x, "gelu"))[: x.shape[0]]


class Linear(nn.Linear):
    """`nn.Linear` through `linear`. packed: the matrix, or its parts, where the model was packed and only reads."""

    packed: tuple[Packed, ...] = ()

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's name)
        """`input` is [..., inner]."""
        if len(self.packed) == 1:
            return self.packed[0](input)
        return linear(input, self.weight, self.bias)

    def pack(self, *sizes: int) -> None:
        """From now on compute with what the parameters are now, in parts of `sizes` outer units where these are given.

        Nothing happens where `can_pack` says no.
        """
        if can_pack(self.weight):
            outer = sizes or len(self.weight)
            pieces = zip(self.weight.split(outer), self.bias.split(outer), strict=True)
            self.packed = tuple(Packed(weight, bias) for weight, bias in pieces)

    def part(self, x: Tensor, sizes: tuple[int, ...], at: int) -> Tensor:
        """The outer units of part `at` of `sizes`, for which it was packed if it was."""
        if self.packed:
            return self.packed[at](x)
        return linear(x, self.weight.split(sizes)[at], self.bias.split(sizes)[at])

    def parts(self, x: Tensor, sizes: tuple[int, ...]) -> list[Tensor]:
        """All parts of `sizes` for `x` [rows, inner]."""
        if not self.packed:
            return list(self(x).split(sizes, dim=-1))
        wider = filled(x)
        return [packed.filled(wider)[: x.shape[0]] for packed in self.packed]


def feed_forward(x: Tensor, up: Linear, down: Linear) -> Tensor:
    """`down(gelu(up(x)))` of `x` [..., hidden]."""
    if up.packed and down.packed:
        return packed_feed_forward(x.reshape(-1, x.shape[-1]), up.packed[0], down.packed[0]).view(x.shape)
    return down(F.gelu(up(x)))


def _in_bfloat16(weight: Tensor) -> bool:
    device = weight.device.type
    return weight.dtype == torch.bfloat16 or (
        torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16
    )
