from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slarag.sla.calibration import Calibration
from slarag.sla.calibration_fit import fit_calibration
from slarag.sla.expected_f1 import ExpectedF1, fit_expected_f1
from slarag.sla.plan import Plan
from tests.sla.builders import MEASURED, SECONDS_PER_PASSAGE, simulate

PLANS = [Plan(passages=passages) for passages in (1, 3, 6)]


def test_it_finds_what_right_and_wrong_answers_score() -> None:
    runs = simulate(PLANS, 60)
    made = fit_calibration(runs, PLANS, source=MEASURED, seconds_per_passage=SECONDS_PER_PASSAGE)
    assert made.expected_f1.of_right == pytest.approx(1.0, abs=0.02)
    assert made.expected_f1.of_wrong == pytest.approx(0.1, abs=0.02)


def test_before_anything_is_measured_it_is_the_confidence() -> None:
    assert fit_expected_f1(()).at(0.4) == 0.4


@given(st.floats(0, 1), st.floats(0, 1))
def test_more_confidence_never_expects_less(low: float, high: float) -> None:
    shipped = Calibration.load().expected_f1
    assert shipped.at(min(low, high)) <= shipped.at(max(low, high))
    assert 0 <= shipped.of_wrong < shipped.of_right <= 1
    assert ExpectedF1(of_right=0.9, of_wrong=0.1).at(0.5) == pytest.approx(0.5)
