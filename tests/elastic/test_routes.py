"""Which device's replica takes which rows."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from slarag.backends.elastic.models.experts import Group
from slarag.backends.elastic.worker.routes import Routes, owners_of


def test_owners_are_read_with_and_without_replicas() -> None:
    assert owners_of({"0": [1, 2], "3": [[1, 2], [2]]}) == {0: ((1,), (2,)), 3: ((1, 2), (2,))}


def test_a_replicated_expert_goes_where_the_fewest_rows_are() -> None:
    routes = Routes(0, {0: ((0, 1), (0,), (1,), (0, 1))})
    groups: list[Group] = [(0, 0, 4), (1, 4, 6), (2, 10, 1), (3, 11, 1)]
    shares = routes.split(0, groups)
    assert sorted(shares[0]) == [(1, 4, 6)]
    assert sorted(shares[1]) == [(0, 0, 4), (2, 10, 1), (3, 11, 1)]


def test_a_layer_is_here_when_each_expert_has_a_replica_here() -> None:
    routes = Routes(0, {0: ((0, 1), (0,)), 1: ((0,), (1,))})
    assert (routes.is_here(0), routes.is_here(1)) == (True, False)


def test_an_expert_that_moves_is_on_one_device_and_all_others_are_where_they_were() -> None:
    routes = Routes(0, {0: ((0, 1), (0,)), 1: ((0,), (1,))})
    after = routes.after([(1, 1, 0)])
    assert (after.is_here(1), after.differs(routes, 1), after.differs(routes, 0)) == (True, True, False)
    assert not routes.is_here(1)


@given(
    st.lists(st.tuples(st.sets(st.integers(0, 3), min_size=1), st.integers(0, 9)), min_size=1, max_size=8),
    st.integers(0, 3),
)
def test_every_row_goes_to_one_owner(experts: list[tuple[set[int], int]], device: int) -> None:
    owners = tuple(tuple(sorted(found)) for found, _ in experts)
    starts = [sum(count for _, count in experts[:index]) for index in range(len(experts))]
    groups: list[Group] = [(e, start, count) for e, (start, (_, count)) in enumerate(zip(starts, experts, strict=True))]
    shares = Routes(device, {5: owners}).split(5, groups)
    assert sorted(group for share in shares.values() for group in share) == groups
    assert all(target in owners[expert] for target, share in shares.items() for expert, _, _ in share)
