"""The closed set of question intents and a prediction over it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, get_args

Intent = Literal["factoid", "yes_no", "comparison", "multi_hop", "list", "explanation", "out_of_scope"]
INTENTS: tuple[Intent, ...] = get_args(Intent)


@dataclass(frozen=True, slots=True)
class IntentPrediction:
    """Probabilities over all of `INTENTS`; they sum to 1."""

    probabilities: Mapping[Intent, float]

    def __post_init__(self) -> None:
        if set(self.probabilities) != set(INTENTS) or abs(sum(self.probabilities.values()) - 1) > 1e-6:
            raise ValueError(f"not a distribution over the intents: {dict(self.probabilities)!r}")

    @property
    def top(self) -> Intent:
        """The likeliest intent; ties go to the first of `INTENTS`."""
        return max(INTENTS, key=lambda intent: self.probabilities[intent])

    @property
    def confidence(self) -> float:
        """The probability of `top`."""
        return self.probabilities[self.top]

    @classmethod
    def certain(cls, intent: Intent) -> IntentPrediction:
        """All probability on one intent, for callers who know."""
        return cls({name: float(name == intent) for name in INTENTS})
