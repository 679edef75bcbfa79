"""The requests that come: how many, and how long."""

from __future__ import annotations

from .forecast import Estimate, Forecast
from .jumps import Jumps
from .misses import Lengths
from .observation import Observation

_GUESSED_INPUT, _GUESSED_OUTPUT = 600.0, 200.0
_GUESS_WEIGHT = 10.0
_REMEMBERED = 300.0
_VARIATION_SHARE = 0.01
_MOST_VARIATION = 20.0


class Demand:
    """Learns from observations. Prompts and answers are weighed in tokens, since requests differ a thousandfold."""

    def __init__(self) -> None:
        self.jumps = Jumps()
        self._rate = Forecast(1.0)
        self._input = Forecast(_GUESSED_INPUT)
        self._variation = 1.0
        self._requests = _GUESS_WEIGHT
        self._produced = _GUESS_WEIGHT * _GUESSED_OUTPUT
        self._output = _GUESSED_OUTPUT

    def observe(self, seen: Observation) -> None:
        """Take the newest interval."""
        rate, expected = seen.arrivals / seen.interval_s, self._rate.after(seen.interval_s)
        noise = max(expected.mean, 1 / seen.interval_s) / seen.interval_s
        self.jumps.observe(rate, expected, noise)
        self._rate.observe(rate, noise, seen.interval_s)
        if seen.arrivals:
            self._observe_prompts(seen)
        self._observe_answers(seen)

    def rate_after(self, seconds: float) -> Estimate:
        """Requests per second that are expected after a while."""
        return self._rate.after(seconds)

    @property
    def lengths(self) -> Lengths:
        """Of the requests of late."""
        return Lengths(max(1.0, self._input.after(0).mean), max(1.0, self._output), self._variation)

    def _observe_prompts(self, seen: Observation) -> None:
        mean, expected = seen.input_tokens / seen.arrivals, max(1.0, self._input.after(0).mean)
        square = min(_MOST_VARIATION, seen.arrivals * (mean / expected - 1) ** 2)
        self._variation += _VARIATION_SHARE * (square - self._variation)
        self._input.observe(mean, self._variation * expected**2 / seen.arrivals, seen.interval_s)

    def _observe_answers(self, seen: Observation) -> None:
        """Of the requests so far, those that wait have produced nothing, and those that run about half."""
        kept = max(0.0, 1 - seen.arrivals / _REMEMBERED)
        self._requests = self._requests * kept + seen.arrivals
        self._produced = self._produced * kept + seen.output_tokens
        answered = self._requests - seen.waiting - seen.running / 2
        if answered > 0:
            self._output = self._produced / answered
