from __future__ import annotations

from pathlib import Path

import pytest

from slarag.backends.conformance import BackendConformance
from slarag.backends.reader.backend import EmbeddedReader


class TestEmbeddedReader(BackendConformance):
    @pytest.fixture(autouse=True)
    def _folder(self, untrained_folder: Path) -> None:
        self._untrained = untrained_folder

    def make_backend(self) -> EmbeddedReader:
        return EmbeddedReader(folder=self._untrained)
