"""The circuit breaker of one backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

BreakerState = Literal["closed", "open", "half_open"]


class CircuitBreaker:
    """Closed: calls pass. Open, after `failures_to_open` failures in a row: none pass for `open_s` seconds. Half-open,
    after that: one call passes as a trial; its success closes the circuit, its failure opens it again.

    clock: seconds, monotonic. Each admitted call ends in exactly one of `succeeded`, `failed` and `withdrawn`. For use
    from one event loop.
    """

    def __init__(self, *, failures_to_open: int, open_s: float, clock: Callable[[], float]) -> None:
        self._failures_to_open = failures_to_open
        self._open_s = open_s
        self._clock = clock
        self._failures = 0
        self._opened_at: float | None = None
        self._on_trial = False

    @property
    def state(self) -> BreakerState:
        """The state now."""
        if self._opened_at is None:
            return "closed"
        return "half_open" if self._clock() - self._opened_at >= self._open_s else "open"

    def admit(self) -> bool:
        """Whether a call may pass now; when half-open, the caller has taken the trial."""
        if self.state == "open" or (self.state == "half_open" and self._on_trial):
            return False
        self._on_trial = self.state == "half_open"
        return True

    def succeeded(self) -> None:
        """The call was answered."""
        self._failures = 0
        self._opened_at = None
        self._on_trial = False

    def failed(self) -> None:
        """The call failed for the backend's reasons."""
        self._failures += 1
        if self._opened_at is not None or self._failures >= self._failures_to_open:
            self._opened_at = self._clock()
        self._on_trial = False

    def withdrawn(self) -> None:
        """The call was cancelled: it says nothing about the backend."""
        self._on_trial = False
