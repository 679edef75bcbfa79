"""Matrix products at few sizes.

On a CPU torch's bfloat16 products are compiled for each number of rows that they meet, which takes milliseconds,
several times as long as the product itself; a thousand of them are kept. Batches of text have another number of tokens
every time, so the rows are filled up to one of a few numbers.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def rows_to_compute(rows: int) -> int:
    """`rows` rounded up to one of few numbers: a multiple of 16 up to 64, of 64 up to 1,024, else of 256."""
    step = 16 if rows <= 64 else 64 if rows <= 1024 else 256
    return -(-rows // step) * step


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` of `x` [..., inner]; where it runs in bfloat16, at one of few numbers of rows."""
    rows = x.numel() // x.shape[-1]
    missing = rows_to_compute(rows) - rows
    if missing == 0 or not _in_bfloat16(weight):
        return F.linear(x, weight, bias)
    filled = F.pad(x.reshape(rows, x.shape[-1]), (0, 0, 0, missing))
    return F.linear(filled, weight, bias)[:rows].view(*x.shape[:-1], len(weight))


class Linear(nn.Linear):
    """`nn.Linear` through `linear`."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002  (torch's name)
        """`input` is [..., inner]."""
        return linear(input, self.weight, self.bias)


def _in_bfloat16(weight: Tensor) -> bool:
    device = weight.device.type
    return weight.dtype == torch.bfloat16 or (
        torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) == torch.bfloat16
    )
