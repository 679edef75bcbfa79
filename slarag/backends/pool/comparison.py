"""slarag's policy against the references, each tuned to the same attainment on the same trace; simulated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from .observation import Policy
from .policy import ForecastPolicy, PolicyLimits
from .references import PredictedRate, QueueThreshold, Static, TargetOngoing
from .service import Objectives, ServiceModel
from .simulator import SimulatedRun, Simulator
from .trace import Arrival


def compare_policies(
    model: ServiceModel, objectives: Objectives, trace: Sequence[Arrival], *, ceiling: int = 32
) -> dict[str, SimulatedRun | None]:
    """Each policy's cheapest run that attains `objectives.share`, by name; None where no setting does."""

    def run(policy: Policy) -> SimulatedRun:
        return Simulator(model, objectives, trace, devices=2).run(policy)

    def cheapest(policies: Iterable[Callable[[], Policy]]) -> SimulatedRun | None:
        runs = [run(make()) for make in policies]
        good = [found for found in runs if found.attainment >= objectives.share]
        return min(good, key=lambda found: found.device_seconds, default=None)

    def forecast(margin: float) -> Policy:
        return ForecastPolicy(model, objectives, PolicyLimits(ceiling=ceiling, margin=margin, quantile=0.5))

    return {
        "forecast": cheapest((lambda m=m: forecast(m)) for m in _spread(0.5, 1.4)),
        "static": cheapest((lambda n=n: Static(n)) for n in range(1, ceiling + 1)),
        "queue_threshold": cheapest((lambda x=x: QueueThreshold(x, ceiling=ceiling)) for x in _spread(1, 32)),
        "target_ongoing": cheapest((lambda x=x: TargetOngoing(x, ceiling=ceiling)) for x in _spread(1, 32)),
        "predicted_rate": cheapest((lambda x=x: PredictedRate(x, ceiling=ceiling)) for x in _spread(0.4, 6, 40)),
    }


def _spread(low: float, high: float, count: int = 16) -> list[float]:
    return [low * (high / low) ** (index / (count - 1)) for index in range(count)]
