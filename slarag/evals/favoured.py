"""The plans that questions really get: what a confidence is fitted to should look like what it is asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..sla.calibration import Calibration
from ..sla.conditions import Conditions
from ..sla.intents import INTENTS, Intent, IntentPrediction
from ..sla.mapper import Mapper
from ..sla.plan import Plan
from ..sla.profile import load_profile, shipped_profiles

BUSY = Conditions(waiting=8, running=1)
"""A queue in which the profiles take smaller plans."""


def favoured_plans(space: Sequence[Plan], calibration: Calibration) -> Mapping[Intent, tuple[Plan, ...]]:
    """The plans of `space` that the shipped profiles get for each intent when nothing else runs and when others wait;
    each once.
    """
    mapper = Mapper(space, calibration)
    profiles = [load_profile(name) for name in shipped_profiles()]
    return {
        intent: tuple(
            dict.fromkeys(
                replace(mapper.decide(profile, IntentPrediction.certain(intent), conditions).plan, escalations=0)
                for conditions in (Conditions(), BUSY)
                for profile in profiles
            )
        )
        for intent in INTENTS
    }
