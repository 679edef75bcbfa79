"""The compiled operations against torch's, for any number of rows, on one thread and on two."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from slarag.backends.elastic.kernels.build import library
from slarag.backends.elastic.kernels.native import NativeOperations
from slarag.backends.elastic.models.experts import ExpertWeights
from slarag.backends.elastic.models.operations import AttentionStep, Operations
from slarag.backends.elastic.models.paged import Batch, PagedKV, Segment

from .conftest import TINY

pytestmark = pytest.mark.skipif(library() is None, reason="no C++ compiler here")
WIDE = replace(TINY, hidden_size=96, moe_intermediate_size=64, head_dim=64)
TOLERANCE = {"float32": 1e-5, "bfloat16": 3e-2}
SHARED = settings(max_examples=25, deadline=None)
dtypes = st.sampled_from(["float32", "bfloat16"])


@pytest.fixture(autouse=True, params=[1, 2], ids=["one thread", "two threads"], scope="module")
def threads(request: pytest.FixtureRequest) -> Generator[None]:
    before = torch.get_num_threads()
    NativeOperations(WIDE).use_threads(request.param, 1)
    yield
    torch.set_num_threads(before)


def drawn(seed: int, *shape: int, dtype: str) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(shape, generator=generator) / shape[-1] ** 0.25).to(getattr(torch, dtype))


def assert_close(found: Tensor, expected: Tensor, dtype: str) -> None:
    scale = float(expected.float().abs().max()) + 1e-6
    torch.testing.assert_close(found.float() / scale, expected.float() / scale, rtol=0, atol=TOLERANCE[dtype])


@SHARED
@given(
    dtypes, st.integers(1, 70), st.sampled_from([16, 33, 64, 96, 258]), st.sampled_from([1, 8, 24, 600]), st.booleans()
)
def test_linear(dtype: str, rows: int, inputs: int, outputs: int, has_bias: bool) -> None:
    config = replace(WIDE, dtype=dtype)
    x, weight = drawn(1, rows, inputs, dtype=dtype), drawn(2, outputs, inputs, dtype=dtype)
    bias = drawn(3, outputs, dtype=dtype) if has_bias else None
    assert_close(NativeOperations(config).linear(x, weight, bias), Operations(config).linear(x, weight, bias), dtype)


@SHARED
@given(dtypes, st.integers(1, 250), st.sampled_from([20, 64]))
def test_feed_forward(dtype: str, rows: int, inner: int) -> None:
    config = replace(WIDE, dtype=dtype)
    x = drawn(1, rows, 96, dtype=dtype)
    weights = drawn(2, 2 * inner, 96, dtype=dtype), drawn(3, 96, inner, dtype=dtype)
    found = NativeOperations(config).feed_forward(x, *weights)
    assert_close(found, Operations(config).feed_forward(x, *weights), dtype)


@SHARED
@given(dtypes, st.integers(1, 200), st.integers(0, 10))
def test_experts_however_the_rows_fall(dtype: str, rows: int, seed: int) -> None:
    config = replace(WIDE, dtype=dtype)
    flats = [drawn(expert, config.expert_elements, dtype=dtype) for expert in range(config.num_experts)]
    experts = ExpertWeights.of(flats, config)
    x, scores = drawn(20 + seed, rows, 96, dtype=dtype), drawn(40 + seed, rows, config.num_experts, dtype=dtype) * 4
    native = NativeOperations(config)
    chosen, weights = native.route(scores)
    expected_chosen, expected_weights = Operations(config).route(scores)
    if dtype == "float32":
        assert torch.equal(chosen, expected_chosen)
    assert_close(weights, expected_weights, dtype)
    found = native.mix_experts(experts, x, chosen, weights)
    assert_close(found, Operations(config).mix_experts(experts, x, chosen, weights), dtype)


@SHARED
@given(dtypes, st.lists(st.tuples(st.integers(0, 40), st.integers(1, 40)), min_size=1, max_size=5))
def test_attention_of_any_mix_of_segments(dtype: str, shapes: list[tuple[int, int]]) -> None:
    """shapes: tokens in the cache and new ones, by sequence."""
    config = replace(WIDE, dtype=dtype)
    segments = [Segment([0] * new, start, list(range(i * 10, i * 10 + 10))) for i, (start, new) in enumerate(shapes)]
    batch = Batch.of(segments, 8)
    heads = config.num_heads + 2 * config.num_kv_heads
    packed = drawn(5, len(batch.tokens), heads * 64, dtype=dtype)
    norms = 1 + drawn(6, 64, dtype=dtype) / 4, 1 + drawn(7, 64, dtype=dtype) / 4
    angles = batch.positions[:, None].float() * torch.arange(1, 33) / 32
    caches = [PagedKV(drawn(8, 50, 3, 2, 8, 2, 64, dtype=dtype)) for _ in range(2)]
    steps = [AttentionStep(1, batch, cache, *norms, (angles.cos(), angles.sin())) for cache in caches]
    found = NativeOperations(config).attend(packed.clone(), steps[0])
    expected = Operations(config).attend(packed.clone(), steps[1])
    assert_close(found, expected, dtype)
    assert_close(caches[0].data, caches[1].data, dtype)
