"""slarag's policy: enough devices for the forecast, and a resize only where it pays."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from .forecast import Forecast
from .observation import Observation
from .service import Objectives, ServiceModel

_WORTH_IT = 1.02
_REQUESTS_REMEMBERED = 1000.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyLimits:
    """floor and ceiling: of the number of devices. margin: share of a device's time that is planned to be used, by a
    model that is careful about batches, so that more than 1 can be right.

    quantile: of the forecast's error that is provided for.
    """

    floor: int = 1
    ceiling: int = 64
    margin: float = 0.75
    quantile: float = 0.9


class ForecastPolicy:
    """Provides for the demand at the time when a resize that starts now is done.

    Demand is device time per second: what the requests of an interval cost at the largest batch that meets the
    inter-token objective, by measured rates. The backlog must be gone within the first-token objective. A smaller pool
    is taken only if the time that it will stay enough, judged by the recent past, saves more device time than the two
    switches cost; a larger one only if the model says that it serves more.
    """

    def __init__(self, model: ServiceModel, objectives: Objectives, limits: PolicyLimits) -> None:
        self._model = model
        self._objectives = objectives
        self._limits = limits
        self._arrivals = Forecast()
        self._input_per_request = _Mean(400.0)
        self._output_per_request = _Mean(150.0)
        self._wanted: deque[tuple[float, int]] = deque()

    def decide(self, seen: Observation) -> int:
        """See `Policy.decide`."""
        self._learn(seen)
        wanted = self._enough(seen)
        self._wanted.append((seen.now, wanted))
        if seen.is_resizing or wanted == seen.devices:
            return seen.devices
        if wanted > seen.devices:
            return self._best_of(seen.devices, wanted)
        return self._smaller(seen)

    def _learn(self, seen: Observation) -> None:
        self._arrivals.observe(seen.arrivals / seen.interval_s)
        if seen.arrivals:
            self._input_per_request.add(seen.input_tokens / seen.arrivals, seen.arrivals)
        if seen.running and seen.arrivals:
            self._output_per_request.add(seen.output_tokens / seen.arrivals, seen.arrivals)

    def _enough(self, seen: Observation) -> int:
        """The fewest devices that carry forecast and backlog."""
        ahead = 1 + self._model.scale_up_s / seen.interval_s
        rate = self._arrivals.upper(ahead, self._limits.quantile)
        late = max(0, seen.waiting - seen.devices) * self._model.prefill_seconds(int(self._input_per_request.value))
        for devices in range(self._limits.floor, self._limits.ceiling):
            capacity = devices * self._limits.margin
            if rate * self._cost(devices) + late / self._objectives.ttft_s / 4 <= capacity:
                return devices
        return self._limits.ceiling

    def _cost(self, devices: int) -> float:
        """Device time of a request, seconds."""
        batch = self._model.largest_batch(self._objectives.itl_s, devices)
        # Beyond a quarter of what would fit, a larger batch saves little and costs latency.
        batch = max(1, batch // 4)
        return self._model.device_seconds(self._input_per_request.value, self._output_per_request.value, batch, devices)

    def _best_of(self, devices: int, wanted: int) -> int:
        """The size up to `wanted` that serves most, by the model: experts over more devices cost calls."""
        best = max(range(devices, wanted + 1), key=lambda size: size / self._cost(size))
        is_worth_it = best / self._cost(best) > _WORTH_IT * devices / self._cost(devices)
        return best if is_worth_it else devices

    def _smaller(self, seen: Observation) -> int:
        """The most that was wanted over a time in which a smaller pool pays for shrinking and growing again."""
        switch_s = self._model.scale_down_s + self._model.scale_up_s
        hold_s = max(2 * switch_s, 2 * seen.interval_s)
        while self._wanted and self._wanted[0][0] < seen.now - hold_s:
            self._wanted.popleft()
        peak = max(wanted for _, wanted in self._wanted)
        saved = (seen.devices - peak) * hold_s
        return peak if saved > switch_s else seen.devices


class _Mean:
    """A weighted mean over about the last thousand requests.

    It moves slowly on purpose: tokens that an interval produced belong to requests of earlier ones, so a quick mean per
    request would fall just when many arrive.
    """

    def __init__(self, start: float) -> None:
        self.value = start

    def add(self, value: float, weight: float) -> None:
        share = weight / (weight + _REQUESTS_REMEMBERED)
        self.value += share * (value - self.value)
