from __future__ import annotations

import json
import math
import random
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slarag.sla.confidence import (
    PRIOR,
    ConfidenceFeatures,
    ConfidenceModel,
    expected_calibration_error,
    fit_confidence,
)

share = st.floats(0, 1)
features = st.builds(
    ConfidenceFeatures,
    top=share,
    margin=share,
    no_answer=share,
    agreement=share,
    supported=share,
    refuted=share,
    verified=st.booleans(),
    kind=st.sampled_from(["span", "yes_no", "list", "sentence", "another"]),
    chained=share,
)


def simulated(count: int, seed: int) -> list[tuple[ConfidenceFeatures, bool]]:
    """Answers of an overconfident model: right with probability top squared, less where replicas disagree."""
    rng = random.Random(seed)
    rows: list[tuple[ConfidenceFeatures, bool]] = []
    for index in range(count):
        top, agreement = rng.random(), rng.choice([0.33, 0.67, 1.0])
        verified = rng.random() < 0.5
        right = rng.random() < top**2 * agreement
        supported = min(1.0, max(0.0, 0.3 + 0.4 * right + rng.gauss(0, 0.15)))
        known = ConfidenceFeatures(
            top=top,
            margin=top * rng.random(),
            no_answer=(1 - top) * rng.random(),
            agreement=agreement,
            supported=supported if verified else 0.0,
            refuted=(1 - supported) / 2 if verified else 0.0,
            verified=verified,
            kind=("span", "list")[index % 2],
        )
        rows.append((known, right))
    return rows


FITTED = fit_confidence(simulated(1500, seed=1))


@pytest.mark.parametrize("model", [PRIOR, FITTED], ids=["prior", "fitted"])
class TestAnyModel:
    @given(known=features)
    def test_gives_a_probability(self, model: ConfidenceModel, known: ConfidenceFeatures) -> None:
        assert 0 <= model.probability(known) <= 1

    @given(known=features, name=st.sampled_from(["top", "margin", "agreement", "supported"]), more=share)
    def test_never_falls_with_better_evidence(
        self, model: ConfidenceModel, known: ConfidenceFeatures, name: str, more: float
    ) -> None:
        better = changed(known, name, max(more, getattr(known, name)))
        assert model.probability(better) >= model.probability(known) - 1e-12

    @given(known=features, name=st.sampled_from(["no_answer", "refuted"]), more=share)
    def test_never_rises_with_worse_evidence(
        self, model: ConfidenceModel, known: ConfidenceFeatures, name: str, more: float
    ) -> None:
        worse = changed(known, name, max(more, getattr(known, name)))
        assert model.probability(worse) <= model.probability(known) + 1e-12

    @given(known=features)
    def test_survives_json(self, model: ConfidenceModel, known: ConfidenceFeatures) -> None:
        again = ConfidenceModel.from_dict(json.loads(json.dumps(model.to_dict())))
        assert again.probability(known) == model.probability(known)


def changed(known: ConfidenceFeatures, name: str, value: float) -> ConfidenceFeatures:
    return ConfidenceFeatures(**{**known.to_dict(), name: value})  # type: ignore[arg-type]


def test_a_fitted_model_is_calibrated_on_other_questions() -> None:
    test = simulated(4000, seed=2)
    correct = [right for _, right in test]
    fitted = expected_calibration_error([FITTED.probability(known) for known, _ in test], correct)
    raw = expected_calibration_error([known.top for known, _ in test], correct)
    assert fitted <= 0.05
    assert fitted < raw / 3


def test_a_fitted_model_tells_right_from_wrong() -> None:
    test = simulated(2000, seed=3)
    p = np.array([FITTED.probability(known) for known, _ in test])
    right = np.array([right for _, right in test])
    assert p[right].mean() > p[~right].mean() + 0.25


def test_what_a_reading_says_of_a_chained_question_counts_by_weights_of_its_own() -> None:
    rng = random.Random(6)
    rows: list[tuple[ConfidenceFeatures, bool]] = []
    for index in range(2000):
        top, chained = rng.random(), float(index % 2)
        right = rng.random() < (0.3 if chained else top)
        known = ConfidenceFeatures(top=top, margin=0.0, no_answer=0.2, agreement=1.0, chained=chained)
        rows.append((known, right))
    model = fit_confidence(rows)
    single, chain = (
        [model.probability(replace(rows[0][0], top=top, chained=chained)) for top in (0.1, 0.9)]
        for chained in (0.0, 1.0)
    )
    assert single[1] - single[0] > 0.6
    assert chain[1] - chain[0] < 0.15
    assert 0.2 < sum(chain) / 2 < 0.4


def test_fitting_does_not_depend_on_the_run() -> None:
    rows = simulated(300, seed=4)
    assert fit_confidence(rows) == fit_confidence(rows)


def test_without_rows_the_prior_comes_back() -> None:
    assert fit_confidence([]) is PRIOR


@pytest.mark.parametrize("correct", [True, False])
def test_few_rows_of_one_outcome_do_not_make_certainty(correct: bool) -> None:
    known = ConfidenceFeatures(top=0.5, margin=0.1, no_answer=0.3, agreement=1.0)
    model = fit_confidence([(known, correct)] * 3)
    assert 0.05 < model.probability(known) < 0.95


def test_a_kind_that_was_not_measured_uses_the_shared_weights() -> None:
    known = ConfidenceFeatures(top=0.7, margin=0.4, no_answer=0.1, agreement=1.0, kind="sentence")
    shared = ConfidenceModel(shared=FITTED.shared, curve=FITTED.curve)
    assert FITTED.probability(known) == shared.probability(known)


def test_a_model_over_other_features_is_refused() -> None:
    raw = FITTED.to_dict()
    with pytest.raises(ValueError, match="confidence model over"):
        ConfidenceModel.from_dict({**raw, "features": ["top"]})


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_features_are_shares(value: float) -> None:
    with pytest.raises(ValueError, match="top must be in"):
        ConfidenceFeatures(top=value, margin=0, no_answer=0, agreement=0)


def test_calibration_error_of_known_cases() -> None:
    assert expected_calibration_error([], []) == 0
    assert expected_calibration_error([1.0, 0.0], [True, False]) == 0
    assert expected_calibration_error([1.0, 1.0], [True, False]) == pytest.approx(0.5)
    assert expected_calibration_error([0.31, 0.39, 0.81], [False, True, True]) == pytest.approx((0.3 + 0.19) / 3)


def test_calibration_error_takes_the_bins_apart() -> None:
    p, right = [0.15, 0.95], [True, False]
    assert expected_calibration_error(p, right) == pytest.approx((0.85 + 0.95) / 2)
    assert expected_calibration_error(p, right, bins=1) == pytest.approx(0.05)


@given(st.lists(st.tuples(share, st.booleans()), max_size=60), st.integers(1, 20))
def test_calibration_error_is_a_share(pairs: list[tuple[float, bool]], bins: int) -> None:
    error = expected_calibration_error([p for p, _ in pairs], [right for _, right in pairs], bins)
    assert 0 <= error <= 1


def test_calibration_error_wants_one_outcome_a_probability() -> None:
    with pytest.raises(ValueError, match="do not go with"):
        expected_calibration_error([0.5], [True, False])
