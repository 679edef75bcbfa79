"""How many misses are allowed, and what one is worth in device-seconds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from .observation import Observation
from .service import Floats

# Misses come in bursts; a part of what is allowed is left for the next one.
_SPENT = 0.85
_REPAID_IN_S = 1500.0
_LEAST, _MOST = 0.3, 2.0
_REMEMBERED = 360
_CHEAPEST, _DEAREST = 2.0, 0.4
_HALVINGS = 20
_SURE_MISSES = 10.0
_FORGOTTEN = 0.997
_NEVER = 1e9
_MOST_SHARE = 0.9999


class Allowance:
    """The price of a miss.

    An objective for a share of requests allows misses, and they are all to be spent where they save most. With one
    price for all moments that is so (the multiplier of a constraint; Boyd and Vandenberghe, Convex Optimization,
    section 5.4). The price is the one at which the choices of the recent past would have spent what is allowed; what
    was spent too much or too little so far is made up for soon, and expected misses are corrected by the measured ones.
    share: of requests that must meet their objectives. width: sizes of a choice.
    """

    def __init__(self, share: float, width: int) -> None:
        self._objective = min(share, _MOST_SHARE)
        self._share = (1 - self._objective) * _SPENT
        self._credit = 0.0
        self._expected = self._measured = _SURE_MISSES
        self._count = 0
        self._rates = np.zeros(_REMEMBERED)
        self._sizes = np.full((_REMEMBERED, width), _NEVER)
        self._misses = np.zeros((_REMEMBERED, width))

    def observe(self, seen: Observation, expected_misses: float) -> None:
        """Count an interval's misses, and those that were expected in it."""
        missed = seen.finished - seen.met
        self._credit += self._share * seen.finished - missed
        self._expected = self._expected * _FORGOTTEN + expected_misses
        self._measured = self._measured * _FORGOTTEN + missed

    def remember(self, rate: float, sizes: Floats, misses: Floats) -> None:
        """Take a moment's choice into account. misses: expected per second, by size; sizes rise."""
        row = self._count % _REMEMBERED
        self._count += 1
        self._rates[row] = rate
        self._sizes[row] = _NEVER
        self._sizes[row, : len(sizes)] = sizes
        self._misses[row, : len(sizes)] = misses

    def can_spare(self, misses: float) -> bool:
        """Whether so many misses are left over from what is allowed so far."""
        return self._credit >= misses

    @property
    def _correction(self) -> float:
        """Measured misses over expected ones."""
        return (self._measured + _SURE_MISSES) / (self._expected + _SURE_MISSES)

    def price(self, request_s: float) -> float:
        """Device-seconds that one expected miss is worth now.

        request_s: device-seconds of a request. A miss is worth at least a few requests, and at most a part of as many
        as may not be missed for one that is: above that, devices buy next to nothing.
        """
        known = min(self._count, _REMEMBERED)
        sizes, misses = self._sizes[:known], self._misses[:known]
        rate = float(self._rates[:known].mean())
        share = self._share + self._credit / max(1.0, rate * _REPAID_IN_S)
        share = min(_MOST * self._share, max(_LEAST * self._share, share))
        allowed = share * rate * known / self._correction
        low, high = math.log(_CHEAPEST * request_s), math.log(_DEAREST * request_s / (1 - self._objective))
        rows = np.arange(known)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            picked = (sizes + math.exp(middle) * misses).argmin(axis=1)
            low, high = (middle, high) if misses[rows, picked].sum() > allowed else (low, middle)
        return math.exp(high)


class Deadlines:
    """The same for missed deadlines. A request that misses another objective is taken to miss its deadline, too.

    How many really do is what an `Allowance` learns. Only a part of the requests has a deadline, so that a miss is
    worth that part of the price. share: of the deadlines that must be met.
    """

    def __init__(self, share: float, width: int) -> None:
        self._allowance = Allowance(share, width)
        self._with_deadline = self._finished = 0.0

    def observe(self, seen: Observation, expected_misses: float) -> None:
        """Count an interval's deadlines; expected_misses: of all requests in it."""
        self._with_deadline = self._with_deadline * _FORGOTTEN + seen.with_deadline
        self._finished = self._finished * _FORGOTTEN + seen.finished
        only = replace(seen, finished=seen.with_deadline, met=seen.met_deadline)
        self._allowance.observe(only, expected_misses * self._part)

    def remember(self, rate: float, sizes: Floats, misses: Floats) -> None:
        """See `Allowance.remember`."""
        self._allowance.remember(rate * self._part, sizes, misses * self._part)

    def price(self, request_s: float) -> float:
        """Device-seconds that one expected miss of a request is worth for its deadline."""
        return self._part * self._allowance.price(request_s)

    @property
    def _part(self) -> float:
        """The part of the requests that have a deadline."""
        return self._with_deadline / self._finished if self._finished else 0.0
