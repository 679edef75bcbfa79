"""The report: each objective of the profile, met or missed and by how much."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

from .profile import Profile

ObjectiveName = Literal["latency", "deadline", "cost", "quality", "risk"]
Unit = Literal["ms", "usd", "f1", "probability"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What one query did.

    latency_ms: from the question to the answer. usd: its cost, None when a call had no price. expected_f1: of the given
    answer. wrong_answer_probability: that the given answer is wrong. abstained: whether no answer was given.
    """

    latency_ms: float
    usd: float | None
    expected_f1: float
    wrong_answer_probability: float
    abstained: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ObjectiveResult:
    """One objective after the query.

    margin: how far on the right side of the target the value is, in `unit`; negative by how much it missed. value and
    margin are None when it could not be measured, which is not met.
    """

    objective: ObjectiveName
    target: float
    value: float | None
    met: bool
    margin: float | None
    unit: Unit

    def to_dict(self) -> dict[str, str | float | bool | None]:
        """The fields as plain JSON values."""
        return asdict(self)


def report(profile: Profile, measured: Measured) -> tuple[ObjectiveResult, ...]:
    """The results of the objectives that `profile` sets, in the order latency, deadline, cost, quality, risk.

    Latency is the query's own against the p95 target, so that the share of met ones is the attainment. An abstention
    has F1 0 and cannot be wrong.
    """
    return tuple(_results(profile, measured))


def _results(profile: Profile, measured: Measured) -> Iterator[ObjectiveResult]:
    objectives = profile.objectives
    if objectives.latency is not None:
        yield _at_most("latency", objectives.latency.p95_ms, measured.latency_ms, "ms")
        yield _at_most("deadline", objectives.latency.deadline_ms, measured.latency_ms, "ms")
    if objectives.cost is not None:
        yield _at_most("cost", objectives.cost.usd_per_query, measured.usd, "usd")
    if objectives.quality is not None:
        f1 = 0.0 if measured.abstained else measured.expected_f1
        yield _result("quality", objectives.quality.min_f1, f1, f1 - objectives.quality.min_f1, "f1")
    if objectives.risk is not None:
        wrong = 0.0 if measured.abstained else measured.wrong_answer_probability
        yield _at_most("risk", objectives.risk.max_wrong_answer_rate, wrong, "probability")


def _at_most(objective: ObjectiveName, target: float, value: float | None, unit: Unit) -> ObjectiveResult:
    return _result(objective, target, value, None if value is None else target - value, unit)


def _result(
    objective: ObjectiveName, target: float, value: float | None, margin: float | None, unit: Unit
) -> ObjectiveResult:
    met = margin is not None and margin >= -1e-12
    return ObjectiveResult(objective=objective, target=target, value=value, met=met, margin=margin, unit=unit)
