"""The paired tests against their textbook forms."""

from __future__ import annotations

import numpy as np
import pytest

from slarag.evals.paired import detectable, paired_mean, paired_statistic, permutation_p


def test_few_pairs_give_the_exactpermutation_p() -> None:
    # 2^4 sign flips; only all + and all - are as extreme.
    assert permutation_p(np.array([1.0, 0.5, 0.25, 2.0, 0.0]), seed=0) == pytest.approx(2 / 16)


def test_the_permutation_p_is_uniform_where_there_is_no_difference() -> None:
    rng = np.random.default_rng(0)
    small = [permutation_p(rng.choice([-1.0, 0.0, 1.0], size=20), seed=n) < 0.05 for n in range(60)]
    assert sum(small) <= 8


def test_the_detectable_difference_shrinks_with_the_root_of_the_pairs() -> None:
    difference = np.array([1.0, -1.0] * 50)
    once, four_times = detectable(difference), detectable(np.tile(difference, 4))
    assert once is not None
    assert four_times == pytest.approx(once / 2, rel=0.01)
    assert detectable(difference[:1]) is None


def test_many_pairs_give_the_permutation_p_of_scipy() -> None:
    from scipy.stats import permutation_test

    difference = np.random.default_rng(1).normal(0.2, 1.0, size=60)
    theirs = permutation_test(
        (difference,), np.sum, permutation_type="samples", n_resamples=10_000, rng=np.random.default_rng(2)
    )
    assert permutation_p(difference) == pytest.approx(float(theirs.pvalue), abs=0.02)


def test_a_pairing_is_tighter_than_two_runs_side_by_side() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 10, size=200)
    pairs = [(float(value), float(value + 1 + noise)) for value, noise in zip(hard, rng.normal(size=200), strict=True)]
    paired = paired_mean(pairs)
    assert paired is not None
    assert paired.difference.low is not None
    assert 0.5 < paired.difference.low < 1 < (paired.difference.high or 0) < 1.5
    assert paired.p is not None
    assert paired.p < 0.01


def test_a_statistic_is_drawn_for_both_sides_from_the_same_pairs() -> None:
    values = np.random.default_rng(0).normal(0, 10, size=100)
    paired = paired_statistic(100, lambda at: float(np.median(values[at])), lambda at: float(np.median(values[at])) + 2)
    assert paired is not None
    assert (paired.difference.low, paired.difference.high) == (pytest.approx(2), pytest.approx(2))


def test_nothing_to_pair_is_no_difference_of_zero() -> None:
    assert paired_mean([]) is None
    assert paired_statistic(0, lambda at: 0.0, lambda at: 0.0) is None
