"""The mapper: from a profile and the state of the moment to the plan that a question runs with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from .calibration import Calibration
from .conditions import Conditions
from .decision import Decision, Option, Rejection
from .deferred import Deferred
from .errors import PlanError
from .forecast import Forecast, PlanTable
from .intents import IntentPrediction
from .limits import OBJECTIVES, Limits
from .objectives import Priority
from .plan import Plan
from .profile import Profile
from .work import size

Vector = npt.NDArray[np.float64]
Indices = npt.NDArray[np.intp]

_METRIC = {
    "latency": "predicted latency",
    "cost": "predicted cost",
    "quality": "predicted F1",
    "risk": "predicted wrong-answer rate",
}


class Mapper:
    """Chooses among the plans of `space` by what `calibration` predicts; pure and deterministic.

    Among the plans that meet every objective it takes the best by the profile's priority, so a looser objective never
    predicts a worse value of the prioritised metric. When no plan meets them all it takes the one that is expected to
    pass the deadline least, then to miss the prioritised objective least, then all of them together. Ties go to
    better quality, then lower latency, then the plan's key.
    """

    def __init__(self, space: Sequence[Plan], calibration: Calibration) -> None:
        if not space:
            raise PlanError("a plan space needs at least one plan", remedy="use `default_plan_space()`")
        self.calibration = calibration
        self.space = tuple(sorted(set(space), key=lambda plan: plan.key))
        self._table = PlanTable.of(self.space, calibration)

    def decide(
        self,
        profile: Profile,
        intent: IntentPrediction,
        conditions: Conditions,
        *,
        larger_than: Plan | None = None,
        remaining_ms: float | None = None,
        remaining_usd: float | None = None,
    ) -> Decision:
        """The plan for a question of `intent` under `profile`, now.

        larger_than: only plans that do more than this one. remaining_ms: to the deadline. remaining_usd: of the
        cap. When no plan is larger, `larger_than` itself comes back as the nearest offer: there is nothing to
        escalate to.
        """
        limits = Limits.of(profile, remaining_ms=remaining_ms, remaining_usd=remaining_usd)
        forecast = self._table.forecast(intent, conditions, threshold=limits.threshold)
        among = self._larger(larger_than)
        if larger_than is not None and not among.size:
            return self._nothing_larger(larger_than, profile, intent, conditions)
        choice = _Choice(self._table, forecast, limits, profile.priority, among)
        return choice.decision()

    def _larger(self, plan: Plan | None) -> Indices:
        if plan is None:
            return np.arange(len(self.space))
        return np.flatnonzero(self._table.sizes > size(plan))

    def _nothing_larger(
        self, plan: Plan, profile: Profile, intent: IntentPrediction, conditions: Conditions
    ) -> Decision:
        return Decision(
            plan=replace(plan, escalations=0),
            prediction=self.calibration.predict(plan, intent, conditions, threshold=profile.threshold),
            feasible=(),
            rejected=(),
            binding="plan_space",
            reason=f"no plan of the space is larger than {plan.key}",
            is_nearest_offer=True,
        )


class _Choice:
    """One decision in the making: the plans `among` of `table` under `limits`."""

    def __init__(
        self, table: PlanTable, forecast: Forecast, limits: Limits, priority: Priority, among: Indices
    ) -> None:
        self._table = table
        self._forecast = forecast
        self._limits = limits
        self._priority = priority
        self._excess = limits.excess(forecast)
        total = self._excess.sum(axis=0)
        ranked = self._ranked(among)
        self._feasible = ranked[total[ranked] == 0]
        self._rejected = self._nearest_first(ranked[total[ranked] > 0], total)
        self._best_first = ranked

    def decision(self) -> Decision:
        is_nearest_offer = not self._feasible.size
        chosen = int(self._rejected[0] if is_nearest_offer else self._feasible[0])
        binding = self._missed_most(chosen) if is_nearest_offer else self._bound(chosen)
        return Decision(
            plan=replace(self._table.plans[chosen], escalations=0 if is_nearest_offer else self._escalations(chosen)),
            prediction=self._forecast.prediction(chosen),
            feasible=Deferred(self._feasible.size, self._options),
            rejected=Deferred(self._rejected.size, self._rejections),
            binding=binding,
            reason=self._reason(chosen, binding, is_nearest_offer),
            is_nearest_offer=is_nearest_offer,
        )

    def _options(self) -> list[Option]:
        return [Option(self._table.plans[i], self._forecast.prediction(i)) for i in self._feasible.tolist()]

    def _rejections(self) -> list[Rejection]:
        worst, by = self._excess.argmax(axis=0).tolist(), self._excess.max(axis=0).tolist()
        return [
            Rejection(self._table.plans[i], self._forecast.prediction(i), OBJECTIVES[worst[i]], by[i])
            for i in self._rejected.tolist()
        ]

    def _metric(self) -> Vector:
        """What the priority minimises."""
        forecast = self._forecast
        return {
            "latency": forecast.latency_ms[0],
            "cost": forecast.usd[0],
            "quality": -forecast.f1[0],
            "risk": forecast.wrong[0],
        }[self._priority]

    def _ranked(self, among: Indices) -> Indices:
        """`among`, best by the priority first; the table is in the order of plan keys, which settles what ties are
        left.
        """
        keys = (self._forecast.latency_ms[0], -self._forecast.f1[0], self._metric())
        return among[np.lexsort([key[among] for key in keys])]

    def _nearest_first(self, rejected: Indices, total: Vector) -> Indices:
        """`rejected`, nearest to what was asked for first; the stable sort keeps the priority's order in ties."""
        own = self._excess[OBJECTIVES.index(self._priority)]
        late = self._limits.past_deadline(self._forecast)
        return rejected[np.lexsort((total[rejected], own[rejected], late[rejected]))]

    def _bound(self, chosen: int) -> str | None:
        """The objective that the best plan misses which would otherwise have been taken instead."""
        first = int(self._best_first[0])
        return None if first == chosen else self._missed_most(first)

    def _missed_most(self, index: int) -> str:
        return OBJECTIVES[int(self._excess[:, index].argmax())]

    def _escalations(self, chosen: int) -> int:
        """1 if some larger plan would still keep time and money after this one, else 0."""
        larger = self._table.sizes > self._table.sizes[chosen]
        slow, dear = self._forecast.latency_ms[2], self._forecast.usd[2]
        if self._limits.latency_ms is not None:
            larger &= slow + slow[chosen] <= self._limits.latency_ms
        if self._limits.usd is not None:
            larger &= dear + dear[chosen] <= self._limits.usd
        return int(larger.any())

    def _reason(self, chosen: int, binding: str | None, is_nearest_offer: bool) -> str:
        plan = self._table.plans[chosen].key
        if is_nearest_offer:
            return (
                f"no plan meets every objective; {plan} comes nearest and misses {binding} "
                f"by {self._excess[:, chosen].max():.3g}"
            )
        count = self._feasible.size
        best = f"{plan} has the best {_METRIC[self._priority]} of the {count} plans that meet every objective"
        return f"{best}; {binding} kept {self._table.plans[int(self._best_first[0])].key} out" if binding else best
