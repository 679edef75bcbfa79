"""Which precision this machine multiplies matrices in at full speed."""

from __future__ import annotations

import importlib
from typing import Any


def bfloat16_is_fast() -> bool:
    """Whether this CPU multiplies bfloat16 matrices in hardware."""
    torch: Any = importlib.import_module("torch")
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
