from __future__ import annotations

import pytest
import torch

from slarag.backends.reader.expansion import added_positions, dynamic_config, expanded
from slarag.backends.reader.experts import RoutedFeedForward
from slarag.backends.reader.model import ReaderOutput
from slarag.backends.reader.rows import Rows
from slarag.backends.reader.storage import packed, unpacked

from .dynamic_models import SMALL, batch, dense, dynamic, encoder_of


def _assert_alike(actual: ReaderOutput, expected: ReaderOutput) -> None:
    for name in ("start", "end_bias", "end_query", "answerable", "support"):
        torch.testing.assert_close(getattr(actual, name)[:1], getattr(expected, name)[:1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "shape",
    [
        {"group": 2},
        {"experts": 3, "top_k": 1},
        {"experts": 4, "top_k": 2, "shared": 0.25},
        {"experts": 3, "shared": 0.0},
        {"group": 2, "experts": 2, "top_k": 2, "shared": 0.0, "skip": "layer"},
        {"group": 1, "experts": 2, "skip": "layer"},
        {"group": 2, "skip": "feed_forward"},
    ],
)
def test_it_starts_as_what_it_was_made_from(shape: dict[str, object]) -> None:
    source = dense()
    reader = dynamic(source, **shape)
    with torch.no_grad():
        actual, expected = reader(*batch()), source(*batch())
    if shape.get("skip") == "feed_forward":
        # DLO scales by 1 + 0.05 (p - 0.5), which is 1 as long as its zero-initialised router says one half.
        assert all(not layer.router.weight[-1].any() for layer in encoder_of(reader).layers)
    _assert_alike(actual, expected)


def test_an_added_layer_is_an_identity_even_in_a_post_norm_stack() -> None:
    encoder = encoder_of(dynamic(group=2))
    before = torch.randn(10, SMALL.hidden_size)
    after, _ = encoder.layers[2](before, Rows.of(torch.tensor([5, 5])), None, None)
    torch.testing.assert_close(after, before)


def test_layers_are_added_after_each_group() -> None:
    assert added_positions(6, 3) == (3, 7)
    assert added_positions(6, 2) == (2, 5, 8)
    assert added_positions(6, 4) == (4,)
    assert added_positions(6, 0) == ()


def test_each_initialisation_keeps_its_promise() -> None:
    source = dense()
    config = dynamic_config(SMALL, group=2)
    made = {kind: expanded(source.state_dict(), config, kind) for kind in ("identity", "copy", "linear", "slerp")}
    name = "encoder.layers.{}.attention_out.weight"
    first, second = (source.state_dict()[name.format(i)] for i in (1, 2))
    torch.testing.assert_close(made["copy"][name.format(2)], first)
    torch.testing.assert_close(made["linear"][name.format(2)], (first + second) / 2)
    arc = made["slerp"][name.format(2)]
    assert arc.norm() == pytest.approx(float((first.norm() + second.norm()) / 2), rel=1e-4)
    to_first, to_second = ((arc * end).sum() / (arc.norm() * end.norm()) for end in (first, second))
    assert to_first == pytest.approx(float(to_second), abs=1e-4), "half way between the two directions"
    assert not made["identity"]["encoder.layers.2.gate"].any()
    assert all(made[kind]["encoder.layers.2.gate"].all() for kind in ("copy", "linear", "slerp"))


def test_only_the_identity_leaves_the_output_alone() -> None:
    source = dense()
    with torch.no_grad():
        expected = source(*batch()).support
        for kind in ("copy", "linear", "slerp"):
            other = dynamic(source, group=2, initialisation=kind)(*batch()).support
            assert not torch.allclose(other, expected, atol=1e-4), kind


def test_the_last_layer_has_no_successor_to_mix_with() -> None:
    source = dense()
    weights = expanded(source.state_dict(), dynamic_config(SMALL, group=2), "linear")
    name = "encoder.layers.{}.qkv.weight"
    torch.testing.assert_close(weights[name.format(5)], source.state_dict()[name.format(3)])


def test_a_reader_whose_experts_share_nothing_is_stored_and_read_again() -> None:
    reader = dynamic(experts=2, shared=0.0)
    again = dynamic(dense(1), experts=2, shared=0.0)
    found = again.load_state_dict(unpacked(packed(reader.stored(), "bfloat16")), strict=False)
    assert not found.unexpected_keys
    assert all(name.startswith("encoder.embeddings.") for name in found.missing_keys)
    again.encoder.embeddings.load_state_dict(reader.encoder.embeddings.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(again(*batch()).support, reader(*batch()).support, atol=0.05, rtol=0.05)


@pytest.mark.parametrize("sizes", [{"shared": -1}, {"experts": 0}, {"top_k": 4}])
def test_a_block_without_experts_is_refused(sizes: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="too few"):
        RoutedFeedForward(8, **{"shared": 0, "expert": 4, "experts": 3, "top_k": 1, **sizes})
