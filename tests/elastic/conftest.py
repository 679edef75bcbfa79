"""A tiny Qwen3-MoE on disk, made once a run, and an event loop for the tests of a file that share a pool."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from dataclasses import replace
from pathlib import Path

import pytest

from slarag.backends.elastic.models.config import Qwen3MoeConfig
from slarag.backends.elastic.models.random_model import make_random_model

TINY = Qwen3MoeConfig(
    vocab_size=320,
    hidden_size=64,
    num_layers=3,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    num_experts=8,
    experts_per_token=2,
    moe_intermediate_size=32,
)


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_random_model(tmp_path_factory.mktemp("tiny") / "model", TINY, shard_bytes=200_000)


@pytest.fixture(scope="session")
def dense_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The odd corners: a dense layer, tied embeddings, attention biases, unnormalised routing."""
    config = replace(
        TINY,
        mlp_only_layers=(1,),
        intermediate_size=96,
        tie_embeddings=True,
        attention_bias=True,
        norm_topk_prob=False,
    )
    return make_random_model(tmp_path_factory.mktemp("dense") / "model", config, seed=7)


@pytest.fixture(scope="module")
def runner() -> Generator[asyncio.Runner]:
    with asyncio.Runner() as made:
        yield made
