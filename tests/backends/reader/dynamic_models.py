"""Small readers with random weights, dense and dynamic, for tests."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from slarag.backends.reader.config import EncoderConfig
from slarag.backends.reader.dynamic_encoder import DynamicEncoder
from slarag.backends.reader.expansion import dynamic_config, expanded
from slarag.backends.reader.model import Reader

SMALL = EncoderConfig(vocab_size=50, hidden_size=24, num_layers=4, num_heads=2, intermediate_size=48, max_positions=64)


def dense(seed: int = 0) -> Reader:
    """A dense reader with weights large enough to tell its layers apart."""
    torch.manual_seed(seed)
    reader = Reader(SMALL)
    with torch.no_grad():
        for name, parameter in reader.encoder.layers.named_parameters():
            if "norm" not in name:
                parameter.normal_(std=0.15)
    return reader.eval()


def dynamic(source: Reader | None = None, **shape: Any) -> Reader:
    """A dynamic reader that starts from `source`; `shape` as `dynamic_config` takes it, `initialisation` beside it."""
    source = source or dense()
    initialisation = shape.pop("initialisation", "identity")
    config = dynamic_config(source.encoder.config, **shape)
    torch.manual_seed(7)
    reader = Reader(config)
    reader.load_state_dict(expanded(source.state_dict(), config, initialisation), strict=False)
    return reader.eval()


def random_routes(reader: Reader, seed: int = 3) -> Reader:
    """The reader with routers that send tokens all ways, and a schedule fitted to none."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for layer in encoder_of(reader).layers:
            layer.router.weight.normal_()
    return reader


def encoder_of(reader: Reader) -> DynamicEncoder:
    """The reader's dynamic encoder."""
    assert isinstance(reader.encoder, DynamicEncoder)
    return reader.encoder


def batch(lengths: tuple[int, ...] = (30, 22, 9), seed: int = 1) -> tuple[Tensor, Tensor, Tensor]:
    """Random ids and segments, padded, and `lengths`."""
    torch.manual_seed(seed)
    ids = torch.randint(1, 50, (len(lengths), max(lengths)))
    segments = torch.zeros_like(ids)
    segments[:, 4:] = 1
    return ids, segments, torch.tensor(lengths)
