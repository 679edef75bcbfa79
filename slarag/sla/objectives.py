"""Objectives: what a profile promises, one model each. Every field name carries its unit."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Priority = Literal["latency", "cost", "quality", "risk"]

Milliseconds = Annotated[float, Field(gt=0, le=3_600_000, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Strict(BaseModel):
    """A frozen model that knows its keys; unknown ones are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False, str_strip_whitespace=True)


class LatencyObjective(Strict):
    """How long an answer may take, milliseconds."""

    p95_ms: Milliseconds = Field(description="95 of 100 answers take no longer; predicted before, reported after.")
    deadline_ms: Milliseconds = Field(description="No answer takes longer: the best so far, or an abstention, returns.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.deadline_ms < self.p95_ms:
            raise ValueError(f"deadline_ms {self.deadline_ms:g} is under p95_ms {self.p95_ms:g}")
        return self


class CostObjective(Strict):
    """What an answer may cost, USD."""

    usd_per_query: Annotated[float, Field(gt=0, allow_inf_nan=False)] = Field(
        description="A hard cap per question; a self-hosted model costs its device-seconds times their rate."
    )


class QualityObjective(Strict):
    """How good answers must be, as token F1."""

    min_f1: Share = Field(description="The expected F1 of the answer, predicted from measurement.")


class RiskObjective(Strict):
    """How often a given answer may be wrong."""

    max_wrong_answer_rate: Share = Field(description="The share of wrong ones among the answers that are given.")


class Objectives(Strict):
    """The objectives; each one may be left out."""

    latency: LatencyObjective | None = None
    cost: CostObjective | None = None
    quality: QualityObjective | None = None
    risk: RiskObjective | None = None


class Abstention(Strict):
    """When not to answer."""

    allowed: bool = Field(default=True, description="Whether 'no answer' may be the result.")
    below_confidence: Share = Field(default=0.3, description="Abstain under this calibrated confidence.")
