"""How a pool that reads is started."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from ..device_layout import DeviceLayout
from ..models.reader import ReaderLayout
from .options import PoolOptions


def _shipped() -> Path:
    from ...reader.store import SHIPPED

    return SHIPPED


@dataclass(frozen=True, kw_only=True, slots=True)
class ReaderOptions(PoolOptions):
    """Settings of a pool that serves the embedded reader. model: its folder, the shipped one by default.

    max_batch_tokens: padded tokens of a device's batch; a longer one is no faster by the token, and others wait for it.
    low_precision: None for what this machine is fast at.
    """

    model: Path = field(default_factory=_shipped)
    max_batch_tokens: int = 2048
    low_precision: bool | None = None

    def layout(self) -> DeviceLayout:
        """The layout of the reader's folder; raises `ConfigurationError`."""
        return ReaderLayout.of(
            self.model,
            page_bytes=self.page_bytes,
            max_batch_tokens=self.max_batch_tokens,
            low_precision=self.low_precision,
        )
