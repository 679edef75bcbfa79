"""A tiny reader with random weights, so that behaviour is tested without the shipped model."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from slarag.backends.reader.config import EncoderConfig
from slarag.backends.reader.model import Reader
from slarag.backends.reader.parent import load_parent_weights, parent_folder
from slarag.backends.reader.store import ReaderSettings, save_reader


@pytest.fixture(scope="session")
def untrained_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parent with random heads, stored as a reader."""
    torch.manual_seed(0)
    model = Reader(EncoderConfig.from_parent(parent_folder()))
    model.encoder.load_state_dict(load_parent_weights())
    folder = tmp_path_factory.mktemp("reader")
    save_reader(model, ReaderSettings(null_weights=(0.1, 0.7, 0.2), rank_exponent=0.25), folder)
    return folder
