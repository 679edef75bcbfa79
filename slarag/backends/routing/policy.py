"""How a router treats its backends."""

from __future__ import annotations

import random
from dataclasses import dataclass

from ...sla.errors import BackendError, BackendTimeoutError


@dataclass(frozen=True, kw_only=True, slots=True)
class RouterPolicy:
    """When to try again, elsewhere, or at two places at once.

    retries: further attempts at one backend after a failure that may pass; not after a timeout, for the next backend is
    a better use of the time. backoff_s: pause before the first retry, doubled before each further one and capped at
    max_backoff_s; a random half of it is taken off, so that callers do not come back together.
    min_attempt_s: a retry or another backend is only started with at least this much time left.
    attempt_timeout_s: limit on one attempt, so that a stalled backend leaves time for the next; None: no such limit.
    hedge_after_s: when no result came within this time, the next backend is started beside the first; None: never.
    failures_to_open: failures in a row that open a backend's circuit. open_s: how long it stays open before one trial.
    fair_attempt_s: a timeout of an attempt that had less time than this is the deadline's fault and opens no circuit.
    """

    retries: int = 1
    backoff_s: float = 0.1
    max_backoff_s: float = 2.0
    min_attempt_s: float = 0.05
    attempt_timeout_s: float | None = None
    hedge_after_s: float | None = None
    failures_to_open: int = 5
    open_s: float = 10.0
    fair_attempt_s: float = 1.0

    def __post_init__(self) -> None:
        limits = {"attempt_timeout_s": self.attempt_timeout_s, "failures_to_open": self.failures_to_open}
        too_small = [name for name, value in limits.items() if value is not None and value <= 0]
        amounts = (
            "retries",
            "backoff_s",
            "max_backoff_s",
            "min_attempt_s",
            "hedge_after_s",
            "open_s",
            "fair_attempt_s",
        )
        too_small += [name for name in amounts if (getattr(self, name) or 0) < 0]
        if too_small:
            raise ValueError(f"too small: {', '.join(f'{name}={getattr(self, name)!r}' for name in too_small)}")

    def pause_s(self, failed: int, error: BackendError, left_s: float | None, rng: random.Random) -> float | None:
        """Seconds to wait before the next attempt after `failed` failed ones; None for no further attempt.

        left_s: time to the deadline, None without one. A server's `retry_after_s` is heeded.
        """
        passes = error.details.get("retryable", True) and not isinstance(error, BackendTimeoutError)
        if failed > self.retries or not passes:
            return None
        pause = min(self.max_backoff_s, self.backoff_s * 2 ** (failed - 1)) * (1 - rng.random() / 2)
        asked = error.details.get("retry_after_s")
        if isinstance(asked, int | float):
            pause = max(pause, float(asked))
        return pause if self.has_time(left_s, pause) else None

    def has_time(self, left_s: float | None, pause_s: float = 0.0) -> bool:
        """Whether an attempt that starts after `pause_s` still makes sense."""
        return left_s is None or left_s - pause_s >= self.min_attempt_s
