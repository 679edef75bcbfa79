"""How many were in time, from what a server counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slarag.backends.elastic.serve.metrics import Histogram
from slarag.backends.pool.prometheus import Samples

NAME = "vllm:time_to_first_token_seconds"


def page(seconds: list[float]) -> str:
    histogram = Histogram()
    for each in seconds:
        histogram.observe(each)
    return "\n".join(histogram.lines(NAME))


@given(st.lists(st.floats(0, 100), max_size=50), st.sampled_from([0.01, 0.1, 1.0, 10.0, 40.0]))
def test_attainment_at_a_bound_is_the_share_within_it(seconds: list[float], bound: float) -> None:
    share = Samples.read(page(seconds)).share_within(Samples(), NAME, bound)
    if seconds:
        assert share == pytest.approx(sum(each <= bound for each in seconds) / len(seconds))
    else:
        assert share is None


@given(st.lists(st.floats(0, 100), min_size=1, max_size=50), st.floats(0, 200), st.floats(0, 200))
def test_a_looser_objective_is_attained_no_less(seconds: list[float], one: float, other: float) -> None:
    counted = Samples.read(page(seconds))
    low, high = [counted.share_within(Samples(), NAME, bound) or 0.0 for bound in sorted((one, other))]
    assert 0 <= low <= high <= 1


def test_attainment_since_an_earlier_look_leaves_out_what_was_before() -> None:
    before, now = Samples.read(page([5.0, 5.0])), Samples.read(page([5.0, 5.0, 0.001]))
    assert now.share_within(before, NAME, 1.0) == 1.0
    assert before.share_within(before, NAME, 1.0) is None
