"""slarag's policy: the size at which devices and misses together cost least, and a resize only where it pays."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from .allowance import Allowance, Deadlines
from .demand import Demand
from .forecast import Estimate
from .misses import Present, missed_share, steady_state, throughput
from .observation import Observation, Target
from .service import Floats, Objectives, ServiceModel
from .switching import relearnt

_HORIZON = 3.0
_NODES = np.array([-math.sqrt(3), 0.0, math.sqrt(3)])
_WEIGHTS = np.array([1 / 6, 2 / 3, 1 / 6])
_LEAST_RATE = 1e-3
_MOST_SIZES = 24
_WORTH_IT = 1.02
_STANDBY_DEVIATIONS = 2.0
_FULL_CACHE = 0.9


@dataclass(frozen=True, kw_only=True, slots=True)
class PolicyLimits:
    """floor and ceiling: of the number of devices; with a floor of 0 a pool may end when nothing comes.

    idle_s: without a request, after which it ends even if the next one then misses its objective; before that it ends
    only if the misses of a cold start are left over from what is allowed. most_standbys: booted processes at most.
    """

    floor: int = 1
    ceiling: int = 64
    idle_s: float = 600.0
    most_standbys: int = 8


class ForecastPolicy:
    """Looks ahead over the time in which a resize must pay for itself.

    For each size it works out the misses at the forecast demand, with the error of the forecast, the measured lengths
    and the present backlog, and takes the size with the least sum of device-seconds, switches, and misses at their
    price. The price follows the measured attainment, see `Allowance`; it is counted in what a request costs. Where a
    share of deadlines is an objective, what misses them has a price of its own, and the higher one counts. What a
    resize takes is `model`'s word at first, and then learnt from those that are made (`relearnt`).
    """

    def __init__(self, model: ServiceModel, objectives: Objectives, limits: PolicyLimits) -> None:
        self._model = model
        self._objectives = objectives
        self._limits = limits
        self._demand = Demand()
        self._allowance = Allowance(objectives.share, _MOST_SIZES)
        self._deadlines = (
            None if objectives.deadline_share is None else Deadlines(objectives.deadline_share, _MOST_SIZES)
        )
        self._expected = 0.0
        self._quiet_s = 0.0
        self._kept_standbys = 1

    def decide(self, seen: Observation) -> Target:
        """See `Policy.decide`."""
        self._model = relearnt(self._model, seen.switches)
        self._demand.observe(seen)
        self._allowance.observe(seen, self._expected * seen.interval_s)
        if self._deadlines is not None:
            self._deadlines.observe(seen, self._expected * seen.interval_s)
        rate = self._demand.rate_after(seen.interval_s + self._model.scale_up_s)
        sizes = self._sizes(rate.mean)
        present = Present(seen.running, 0.0, self._horizon_s(seen) / 2)
        unready = 1 + self._model.scale_up_s / seen.interval_s
        misses = self._misses(rate, unready, sizes, present)
        self._allowance.remember(rate.mean, sizes, misses)
        if self._deadlines is not None:
            self._deadlines.remember(rate.mean, sizes, misses)
        self._expected = float(np.interp(seen.devices, sizes, misses))
        if seen.is_resizing:
            return Target(seen.devices)
        if self._may_end(seen, rate):
            return Target(0, 0)
        if backlog_s := self._backlog_s(seen):
            misses = self._misses(rate, unready, sizes, replace(present, backlog_s=backlog_s))
        size = self._cheapest(seen, sizes, misses)
        return Target(size, self._standbys(seen, size))

    def _may_end(self, seen: Observation, rate: Estimate) -> bool:
        """Whether a pool without a request is worth more ended than the cold start that will follow."""
        is_quiet = not (seen.arrivals or seen.waiting or seen.running)
        self._quiet_s = self._quiet_s + seen.interval_s if is_quiet else 0.0
        if self._limits.floor or not is_quiet:
            return False
        if not seen.devices or self._quiet_s >= self._limits.idle_s:
            return True
        soon = max(_LEAST_RATE, rate.mean + rate.sd)
        cold_s = self._model.cold_start_s
        missed = 1 + soon * cold_s if cold_s > self._objectives.ttft_s else 0.0
        return seen.devices / soon > cold_s + self._model.scale_down_s and self._allowance.can_spare(missed)

    def _standbys(self, seen: Observation, size: int) -> int:
        """As many as may have to join before another could be booted, and one for a worker that is lost."""
        later = self._demand.rate_after(seen.interval_s + self._model.scale_up_s + self._model.boot_s)
        most = self._sizes(later.mean + _STANDBY_DEVIATIONS * later.sd)
        rates = np.array([[max(_LEAST_RATE, later.mean + _STANDBY_DEVIATIONS * later.sd)]])
        shares = missed_share(self._model, self._objectives, rates, self._demand.lengths, most)[0]
        enough = most[int(np.argmax(shares <= max(1 - self._objectives.share, float(shares.min()))))]
        wanted = min(self._limits.most_standbys, 1 + max(0, int(enough) - size))
        # One more or fewer is not worth a command.
        if not self._kept_standbys - 1 <= wanted <= self._kept_standbys:
            self._kept_standbys = wanted
        return self._kept_standbys

    def _horizon_s(self, seen: Observation) -> float:
        """The time over which sizes are compared."""
        switch_s = self._model.scale_up_s + self._model.scale_down_s
        return _HORIZON * max(switch_s, seen.interval_s)

    def _cheapest(self, seen: Observation, sizes: Floats, misses: Floats) -> int:
        request_s = 1 / float(throughput(self._model, self._demand.lengths, np.ones(1))[0])
        costs = (sizes + self._price(request_s) * misses) * self._horizon_s(seen)
        costs += self._switch_seconds(seen.devices, sizes)
        costs[~self._serves_more(seen.devices, sizes) | self._overfills(seen, sizes)] = np.inf
        return int(sizes[costs.argmin()]) if np.isfinite(costs).any() else seen.devices

    def _price(self, request_s: float) -> float:
        """Device-seconds that an expected miss is worth: of the objective that is the harder one now."""
        price = self._allowance.price(request_s)
        return price if self._deadlines is None else max(price, self._deadlines.price(request_s))

    def _serves_more(self, now: int, sizes: Floats) -> NDArray[np.bool_]:
        """Whether a size is smaller, or can do more: experts over more devices cost calls."""
        lengths = self._demand.lengths
        at_present = throughput(self._model, lengths, np.array([float(max(1, now))]))
        return (sizes <= max(1, now)) | (throughput(self._model, lengths, sizes) > _WORTH_IT * at_present)

    def _overfills(self, seen: Observation, sizes: Floats) -> NDArray[np.bool_]:
        """Whether a smaller size would have next to no room for what is cached now: answers would be computed again."""
        return (sizes < seen.devices) & (seen.cache_used * seen.devices > _FULL_CACHE * sizes)

    def _backlog_s(self, seen: Observation) -> float:
        """Work of the prompts that have no device yet."""
        tokens = max(0, seen.waiting - seen.devices) * self._demand.lengths.input_tokens
        answers = min(self._model.max_sequences, seen.running / max(1, seen.devices))
        room = self._model.prompt_room(answers)
        return tokens * float(self._model.step_seconds(room, answers, max(1, seen.devices)) / room)

    def _misses(self, rate: Estimate, unready: float, sizes: Floats, present: Present) -> Floats:
        """Expected misses per second, by size: over the error of the forecast, and for jumps that nobody forecasts.

        unready: intervals until a resize that answers a jump is done.
        """
        jumps = self._demand.jumps
        nodes = [*(rate.mean + _NODES * rate.sd), max(rate.mean, jumps.rate)]
        rates = np.maximum(_LEAST_RATE, nodes)[:, None]
        shares = missed_share(self._model, self._objectives, rates, self._demand.lengths, sizes, present)
        return np.append(_WEIGHTS, jumps.share_of_time(unready)) @ (rates * shares)

    def _sizes(self, rate: float) -> Floats:
        """Sizes that may be right, from the smallest that keeps up."""
        sizes = np.arange(max(1, self._limits.floor), self._limits.ceiling + 1.0)
        keeps_up = steady_state(self._model, np.array([rate]), self._demand.lengths, sizes).busy < 1
        low = int(sizes[keeps_up.argmax()]) if keeps_up.any() else self._limits.ceiling
        top = min(self._limits.ceiling, low + 4 + math.ceil(8 * math.sqrt(low)))
        return np.unique(np.linspace(low, top, _MOST_SIZES).round())

    def _switch_seconds(self, now: int, sizes: Floats) -> Floats:
        """Device-seconds that the resize itself costs; one that shrinks is likely to be undone."""
        up, down = self._model.scale_up_s, self._model.scale_down_s
        return np.where(sizes > now, (sizes - now) * up, (now - sizes) * (up + down))
