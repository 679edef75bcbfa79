"""The paired tests against their textbook forms."""

from __future__ import annotations

import numpy as np
import pytest

from slarag.evals.comparison import _detectable, _permutation_p  # pyright: ignore[reportPrivateUsage]


def test_few_pairs_give_the_exact_permutation_p() -> None:
    # 2^4 sign flips; only all + and all - are as extreme.
    assert _permutation_p(np.array([1.0, 0.5, 0.25, 2.0, 0.0]), seed=0) == pytest.approx(2 / 16)


def test_the_permutation_p_is_uniform_where_there_is_no_difference() -> None:
    rng = np.random.default_rng(0)
    small = [_permutation_p(rng.choice([-1.0, 0.0, 1.0], size=20), seed=n) < 0.05 for n in range(60)]
    assert sum(small) <= 8


def test_the_detectable_difference_shrinks_with_the_root_of_the_pairs() -> None:
    difference = np.array([1.0, -1.0] * 50)
    assert _detectable(np.tile(difference, 4)) == pytest.approx(_detectable(difference) / 2, rel=0.01)
