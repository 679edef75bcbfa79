from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slarag.evals.intervals import UNMEASURED, mean, percentile, share, statistic


@settings(deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=200))
def test_a_share_lies_in_its_interval_within_0_and_1(hits: list[bool]) -> None:
    figure = share(hits)
    assert figure.value is not None
    assert figure.low is not None
    assert figure.high is not None
    assert 0 <= figure.low <= figure.value <= figure.high <= 1


def test_wilson_by_the_book() -> None:
    figure = share([True] * 8 + [False] * 2)  # Wilson (1927) at 8 of 10
    assert figure.low == pytest.approx(0.4902, abs=1e-4)
    assert figure.high == pytest.approx(0.9433, abs=1e-4)


def test_the_bootstrap_agrees_with_scipy() -> None:
    from scipy.stats import bootstrap

    data = np.random.default_rng(0).normal(size=300)
    figure = mean(data.tolist())
    reference = bootstrap((data,), np.mean, method="percentile", rng=np.random.default_rng(1)).confidence_interval
    assert figure.low == pytest.approx(reference.low, abs=0.02)
    assert figure.high == pytest.approx(reference.high, abs=0.02)


def test_intervals_are_the_same_for_the_same_seed() -> None:
    data = [0.0, 1.0, 0.5, 0.25] * 10
    assert mean(data, seed=7) == mean(data, seed=7)


def test_a_percentile_lies_between_order_statistics() -> None:
    figure = percentile([float(n) for n in range(1, 101)], 95)
    assert figure.value == pytest.approx(95.05)
    assert (figure.low, figure.high) == (90.0, 100.0)


def test_a_percentile_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    figures = [percentile(rng.normal(size=80).tolist(), 50) for _ in range(300)]
    covered = sum(f.low <= 0 <= f.high for f in figures if f.low is not None and f.high is not None)
    assert 0.92 * 300 <= covered <= 300


def test_any_statistic_gets_an_interval() -> None:
    data = np.arange(100.0)
    figure = statistic(100, lambda at: float(np.median(data[at])))
    assert figure.value == 49.5
    assert figure.low is not None
    assert figure.low < 49.5


def test_nothing_measured_has_no_value() -> None:
    assert mean([]) == share([]) == percentile([], 50) == statistic(0, lambda at: 0.0) == UNMEASURED
