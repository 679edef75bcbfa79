"""The numerical parts under the calibration, against reference implementations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.isotonic import IsotonicRegression

from slarag.sla.logistic import fit_signed_logistic, sigmoid
from slarag.sla.monotone import IDENTITY, MonotoneMap, fit_monotone, pool_adjacent_violators

finite = st.floats(-1e3, 1e3)


@given(finite)
def test_sigmoid_is_a_probability_and_odd_around_one_half(value: float) -> None:
    assert 0 <= sigmoid(value) <= 1
    assert sigmoid(value) + sigmoid(-value) == pytest.approx(1)


@pytest.mark.parametrize("seed", range(4))
def test_the_fit_is_the_minimum_that_a_general_solver_finds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.column_stack([np.ones(200), rng.normal(size=(200, 3))])
    y = (rng.random(200) < 1 / (1 + np.exp(-(x @ np.array([0.3, 1.0, -0.8, 0.5]))))).astype(float)
    prior, signs, ridge = np.zeros(4), (0, 1, 1, -1), 2.0

    def loss(w: np.ndarray) -> float:
        z = x @ w
        return float(np.logaddexp(0, z).sum() - y @ z + ridge / 2 * ((w - prior) ** 2).sum())

    bounds = [(None, None) if s == 0 else (0, None) if s > 0 else (None, 0) for s in signs]
    reference = minimize(loss, prior, bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-12, "gtol": 1e-8})
    fitted = fit_signed_logistic(x, y, prior=prior, ridge=ridge, signs=signs)
    assert loss(fitted) <= loss(reference.x) + 1e-6
    assert np.all(fitted * np.array(signs) >= 0)


def test_without_data_the_fit_is_the_prior() -> None:
    prior = np.array([0.5, -1.0])
    fitted = fit_signed_logistic(np.zeros((0, 2)), np.zeros(0), prior=prior, ridge=1.0, signs=(0, 0))
    assert fitted == pytest.approx(prior)


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0.1, 10)), min_size=1, max_size=40))
def test_pooling_equals_isotonic_regression(points: list[tuple[float, float]]) -> None:
    level = np.array([value for value, _ in points])
    weight = np.array([mass for _, mass in points])
    reference = IsotonicRegression().fit_transform(np.arange(len(level)), level, sample_weight=weight)
    assert pool_adjacent_violators(level, weight) == pytest.approx(reference, abs=1e-9)


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=200), st.floats(0, 1), st.floats(0, 1))
def test_a_fitted_map_rises_and_stays_in_range(pairs: list[tuple[float, bool]], a: float, b: float) -> None:
    x = np.array([value for value, _ in pairs])
    fitted = fit_monotone(x, np.array([float(right) for _, right in pairs]))
    low, high = sorted((a, b))
    assert 0 <= fitted(low) <= fitted(high) <= 1
    assert MonotoneMap.from_dict(fitted.to_dict()) == fitted


@given(st.floats(0, 1))
def test_the_default_map_is_the_identity(value: float) -> None:
    assert IDENTITY(value) == value


@pytest.mark.parametrize(
    ("x", "y"), [((0.0, 1.0), (1.0, 0.0)), ((1.0, 0.0), (0.0, 1.0)), ((0.0,), (0.0, 1.0)), ((), ()), ((0.5,), (1.5,))]
)
def test_knots_that_make_no_map_are_refused(x: tuple[float, ...], y: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="knots"):
        MonotoneMap(x, y)
