"""slarag's policy against the references on the same trace; everything here is simulated.

slarag's policy runs once, with its defaults. Each reference is tuned with hindsight: a grid of its setting, and the
cheapest run that attains the objective counts.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from ...sla.errors import DataError
from .observation import Policy
from .policy import ForecastPolicy, PolicyLimits
from .references import PredictedRate, QueueThreshold, Static, TargetOngoing
from .service import Objectives, ServiceModel
from .simulator import ResizeKind, SimulatedRun, Simulator
from .trace import Arrival, load_trace

SCHEMA = 1
OURS = "forecast"
OnProgress = Callable[[int, int, str], None]
"""Runs begun, of at most how many, and the policy."""
_Setting = TypeVar("_Setting", int, float)
_COARSE, _FINE = 24, 16
_FIGURES = (
    ("attainment", "share"),
    ("device_seconds", "s"),
    ("ttft_p99_s", "s"),
    ("resizes", ""),
    ("peak_devices", ""),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class ComparisonSettings:
    """What is simulated.

    model: of a device. minutes: of the trace, None for all. ceiling: devices at most. devices: at the start.
    interval_s: between decisions. resize: whether the pool serves while it switches.
    """

    model: ServiceModel = field(default_factory=ServiceModel)
    objectives: Objectives = field(default_factory=Objectives)
    minutes: float | None = 60.0
    ceiling: int = 32
    devices: int = 2
    interval_s: float = 5.0
    resize: ResizeKind = "live"


@dataclass(frozen=True, slots=True)
class TunedRun:
    """A policy's run. setting: that it was tuned to; None where nothing was."""

    run: SimulatedRun
    setting: float | None = None


@dataclass(frozen=True, slots=True)
class PolicyComparison:
    """Runs by policy; None for a reference that attains the objective with no setting."""

    settings: ComparisonSettings
    workload: Mapping[str, Any]
    runs: Mapping[str, TunedRun | None]

    def to_dict(self) -> dict[str, Any]:
        """The document that benchmarks print, without the machine."""
        figures = {
            f"{name}_{figure}": {"value": getattr(found.run, figure), "unit": unit, "low": None, "high": None, "n": 1}
            for name, found in self.runs.items()
            if found is not None
            for figure, unit in _FIGURES
        }
        tuned = {name: found and found.setting for name, found in self.runs.items()}
        workload = {"simulated": True, **self.workload, **asdict(self.settings), "tuned_settings": tuned}
        return {"schema": SCHEMA, "workload": workload, "figures": figures}

    def table(self) -> str:
        """For people, a line a policy, cheapest first."""
        header = f"{'simulated':16} {'setting':>8} {'attained':>9} {'device-seconds':>15} {'resizes':>8} {'peak':>5}"
        found = sorted(((n, r) for n, r in self.runs.items() if r), key=lambda item: item[1].run.device_seconds)
        missing = [f"{name:16} attains the objective with no setting" for name, run in self.runs.items() if run is None]
        return "\n".join([header, *(_line(name, tuned) for name, tuned in found), *missing])


def compare(trace: Path, settings: ComparisonSettings | None = None) -> PolicyComparison:
    """Compare on a trace file; raises `DataError` when it cannot be read."""
    settings = settings or ComparisonSettings()
    until_s = float("inf") if settings.minutes is None else 60 * settings.minutes
    return compare_policies(load_trace(trace, until_s=until_s), settings, name=trace.name)


def compare_policies(
    trace: Sequence[Arrival],
    settings: ComparisonSettings,
    *,
    name: str = "made up",
    on_progress: OnProgress = lambda _done, _total, _what: None,
) -> PolicyComparison:
    """Compare on arrivals that are there already; raises `DataError` for none. on_progress: told of each run."""
    if not trace:
        raise DataError(f"the trace {name!r} holds no request in that time", remedy="give another, or more of it")
    done = itertools.count(1)
    total = 1 + 3 * (_COARSE + _FINE) + 1 + math.ceil(math.log2(settings.ceiling))

    def run(policy: Policy) -> SimulatedRun:
        on_progress(next(done), total, type(policy).__name__)
        simulator = Simulator(
            settings.model,
            settings.objectives,
            trace,
            devices=settings.devices,
            interval_s=settings.interval_s,
            resize=settings.resize,
        )
        return simulator.run(policy)

    tuner = _Tuner(run, settings.objectives.share)
    ceiling = settings.ceiling
    limits = PolicyLimits(ceiling=ceiling)
    seconds = max(1.0, trace[-1].at - trace[0].at)
    runs = {
        OURS: TunedRun(run(ForecastPolicy(settings.model, settings.objectives, limits))),
        "static": tuner.cheapest_size(ceiling),
        "queue_threshold": tuner.cheapest(lambda x: QueueThreshold(x, ceiling=ceiling), 0.5, 128),
        "target_ongoing": tuner.cheapest(lambda x: TargetOngoing(x, ceiling=ceiling), 0.5, 128),
        "predicted_rate": tuner.cheapest(
            lambda x: PredictedRate(x, ceiling=ceiling), len(trace) / seconds / ceiling, 8 * len(trace) / seconds
        ),
    }
    return PolicyComparison(settings, {"trace": name, "requests": len(trace), "seconds": seconds}, runs)


@dataclass(frozen=True, slots=True)
class _Tuner:
    """Tries settings. share: that must be attained."""

    run: Callable[[Policy], SimulatedRun]
    share: float

    def cheapest_size(self, ceiling: int) -> TunedRun | None:
        """By bisection: more devices never attain less."""
        low, high = 1, ceiling
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if self._try(Static, middle).run.attainment >= self.share else (middle + 1, high)
        return self._best([self._try(Static, low)])

    def cheapest(self, make: Callable[[float], Policy], low: float, high: float) -> TunedRun | None:
        """A coarse grid over all of the range, then a fine one around its best."""
        step = (high / low) ** (1 / (_COARSE - 1))
        coarse = [self._try(make, low * step**index) for index in range(_COARSE)]
        best = self._best(coarse)
        if best is None or best.setting is None:
            return None
        finer = step ** (2 / (_FINE + 1))
        start = best.setting / step
        return self._best([best, *(self._try(make, start * finer**index) for index in range(1, _FINE + 1))])

    def _try(self, make: Callable[[_Setting], Policy], setting: _Setting) -> TunedRun:
        return TunedRun(self.run(make(setting)), setting)

    def _best(self, runs: Sequence[TunedRun]) -> TunedRun | None:
        good = [tuned for tuned in runs if tuned.run.attainment >= self.share]
        return min(good, key=lambda tuned: tuned.run.device_seconds, default=None)


def _line(name: str, tuned: TunedRun) -> str:
    run, setting = tuned.run, "-" if tuned.setting is None else f"{tuned.setting:.3g}"
    counts = f"{run.resizes:8} {run.peak_devices:5}"
    return f"{name:16} {setting:>8} {100 * run.attainment:8.2f}% {run.device_seconds:15,.0f} {counts}"
