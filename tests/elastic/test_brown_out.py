from __future__ import annotations

import math

import pytest

from slarag.backends.elastic.serve.brown_out import LEAST, BrownOut


def test_a_queue_within_patience_costs_nothing() -> None:
    dial = BrownOut(patience_s=1.0)
    dial.observe(10, 0.05, devices=1)
    assert dial.level == 1.0
    assert dial.budget(0.8, floor=0.4) == 0.8


def test_a_surge_lowers_the_level_at_once_and_devices_that_join_raise_it() -> None:
    dial = BrownOut(patience_s=1.0)
    dial.observe(40, 0.05, devices=1)
    assert dial.level == pytest.approx(0.5)
    dial.observe(40, 0.05, devices=2)
    assert dial.level == 1.0


def test_it_goes_no_lower_than_a_request_allows() -> None:
    dial = BrownOut(patience_s=1.0)
    dial.observe(1000, 0.05, devices=1)
    assert dial.level == LEAST
    assert dial.budget(1.0, floor=0.6) == 0.6
    assert dial.budget(1.0, floor=1.0) == 1.0
    assert dial.budget(0.5, floor=0.9) == 0.5, "what is asked for is never raised"


def test_nothing_is_known_before_the_first_reading_and_it_can_be_turned_off() -> None:
    dial = BrownOut(patience_s=1.0)
    dial.observe(1000, None, devices=1)
    assert dial.level == 1.0
    off = BrownOut(patience_s=math.inf)
    off.observe(10_000, 1.0, devices=1)
    assert off.level == 1.0
