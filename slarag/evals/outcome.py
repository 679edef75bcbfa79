"""What became of one question under one profile: a measurement or a failure, never a mixture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from .scoring import Scores


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """When a question was in flight: seconds since its session began. session: counts the starts of the runner."""

    session: int
    started_s: float
    finished_s: float

    @property
    def latency_ms(self) -> float:
        """From the question to the answer, as the caller saw it, milliseconds."""
        return (self.finished_s - self.started_s) * 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """A question that was answered or abstained on.

    met: by objective of the profile. recall_at_5: None where nothing was retrieved or no gold passage is known.
    usd: None when a call had no price. plans: keys of the plans that ran, in order.
    """

    profile: str
    item_id: str
    intent: str
    intent_hint: str | None
    is_impossible: bool
    text: str
    best_text: str
    abstained: bool
    abstain_reason: str | None
    confidence: float
    scores: Scores
    recall_at_5: float | None
    usd: float | None
    device_seconds: float
    met: Mapping[str, bool]
    plans: tuple[str, ...]
    timing: Timing
    kind: Literal["measurement"] = field(default="measurement")

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True, slots=True)
class Failure:
    """A question that could not be measured. code: of the error class, or `no_passages`; message: one line."""

    profile: str
    item_id: str
    code: str
    message: str
    timing: Timing
    kind: Literal["failure"] = field(default="failure")

    def to_dict(self) -> dict[str, Any]:
        """The fields as plain JSON values."""
        return asdict(self)


Outcome = Measurement | Failure


def outcome_from_dict(raw: Mapping[str, Any]) -> Outcome:
    """An outcome from `to_dict`'s result; raises `KeyError`, `TypeError` or `ValueError` when it is not one."""
    values = dict(raw)
    values["timing"] = Timing(**values["timing"])
    if values["kind"] == "failure":
        return Failure(**values)
    values["scores"] = Scores(**values["scores"])
    values["plans"] = tuple(values["plans"])
    return Measurement(**values)
