"""The plan of a resize moves no more than it must, and keeps every layer even."""

from __future__ import annotations

from itertools import permutations

from hypothesis import given, settings
from hypothesis import strategies as st

from slarag.backends.elastic.placement import Placement, fewest_moves, moves_between

SIZES = st.lists(st.integers(1, 8), min_size=1, max_size=6)


def counts(placement: Placement, layer: int) -> list[int]:
    return [sum(owner == device for owner in placement.owners[layer]) for device in placement.devices]


def resized_to(placement: Placement, size: int) -> Placement:
    kept = placement.devices[:size]
    new = range(1 + max(placement.devices), 1 + max(placement.devices) + size - len(kept))
    return placement.resized((*kept, *new))


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(8, 20), SIZES)
def test_any_sequence_of_resizes_is_even_and_moves_the_lower_bound(layers: int, experts: int, sizes: list[int]) -> None:
    placement = Placement.initial(range(layers), experts, range(sizes[0]))
    for size in sizes[1:]:
        new = resized_to(placement, size)
        moves = moves_between(placement, new)
        assert len(moves) == fewest_moves(placement, new.devices)
        assert new.epoch == placement.epoch + 1
        for layer in range(layers):
            assert max(counts(new, layer)) - min(counts(new, layer)) <= 1
        for move in moves:
            assert placement.owners[move.layer][move.expert] == move.source
            assert new.owners[move.layer][move.expert] == move.target
        placement = new


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 7), st.integers(1, 3), st.integers(1, 4))
def test_the_lower_bound_is_what_trying_everything_finds(experts: int, before: int, after: int) -> None:
    old = Placement.initial([0], experts, range(before))
    devices = range(after)
    small, larger = divmod(experts, after)
    shares = set(permutations([small + 1] * larger + [small] * (after - larger)))
    held = [old.owners[0].count(device) for device in devices]
    tried = [sum(max(0, share - has) for share, has in zip(option, held, strict=True)) for option in shares]
    assert fewest_moves(old, devices) == min(tried)


def test_what_a_device_holds() -> None:
    placement = Placement.initial([0, 2], 4, [5, 6])
    assert placement.held_by(5) == ((0, 0), (0, 1), (2, 0), (2, 1))
    assert placement.to_message() == {"epoch": 0, "owners": {"0": [5, 5, 6, 6], "2": [5, 5, 6, 6]}}
