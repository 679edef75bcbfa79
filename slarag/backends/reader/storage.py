"""The form of a reader's tensors in its file: bfloat16, or matrices in int8 with a scale a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

Storage = Literal["bfloat16", "int8"]

SCALE = ".scale"
"""A matrix in int8 has its scales, float32 without the last dimension, under its own name and this."""
_EXACT = ("encoder.schedule.", ".router.")
"""Parts of the names of what decides which tokens go where: small, and kept in full precision."""


def packed(tensors: Mapping[str, Tensor], storage: Storage) -> dict[str, Tensor]:
    """The tensors as the file holds them: vectors in bfloat16, routers in float32, other matrices as asked."""
    result: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        value = tensor.detach().float()
        if any(part in name for part in _EXACT):
            result[name] = value.contiguous()
        elif storage == "int8" and value.ndim > 1:
            scale = value.abs().amax(dim=-1).clamp(min=1e-12) / 127
            result[name] = (value / scale.unsqueeze(-1)).round().to(torch.int8).contiguous()
            result[name + SCALE] = scale.contiguous()
        else:
            result[name] = value.to(torch.bfloat16).contiguous()
    return result


def unpacked(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a file in float32."""
    return {
        name: value.float() * tensors[name + SCALE].unsqueeze(-1) if value.dtype == torch.int8 else value.float()
        for name, value in tensors.items()
        if not name.endswith(SCALE)
    }
