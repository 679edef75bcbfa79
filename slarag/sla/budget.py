"""The budget of one query: one monotonic deadline and one cost ledger that every later call draws on."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from .errors import CostCapError, UnpricedCallError


@dataclass(frozen=True, kw_only=True, slots=True)
class Charge:
    """One entry of the ledger. usd is None for a call without a price. reused_readings: what it did not pay for."""

    what: str
    usd: float | None
    device_seconds: float = 0.0
    reused_readings: int = 0


class Budget:
    """A deadline on the monotonic clock and a cap on money; both optional.

    `deadline_ms` and `usd` count from construction; `clock` returns seconds and is injectable for tests.
    """

    def __init__(
        self,
        *,
        deadline_ms: float | None = None,
        usd: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self.opened_at = clock()
        self.deadline = None if deadline_ms is None else self.opened_at + deadline_ms / 1000
        self.cap_usd = usd
        self._charges: list[Charge] = []

    @property
    def charges(self) -> tuple[Charge, ...]:
        """The ledger, oldest first."""
        return tuple(self._charges)

    @property
    def spent_usd(self) -> float:
        """The sum of the priced charges, USD."""
        return sum(charge.usd or 0.0 for charge in self._charges)

    @property
    def device_seconds(self) -> float:
        """The sum of device time, seconds."""
        return sum(charge.device_seconds for charge in self._charges)

    @property
    def reused_readings(self) -> int:
        """How many readings were held by a backend and cost nothing."""
        return sum(charge.reused_readings for charge in self._charges)

    def elapsed_s(self) -> float:
        """Seconds since the budget was opened."""
        return self._clock() - self.opened_at

    def remaining_s(self) -> float | None:
        """Seconds to the deadline, never under 0; None without a deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - self._clock())

    def remaining_usd(self) -> float | None:
        """Money left, never under 0; None without a cap."""
        return None if self.cap_usd is None else max(0.0, self.cap_usd - self.spent_usd)

    @property
    def expired(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and self._clock() >= self.deadline

    def affords(self, usd: float) -> bool:
        """Whether a charge of `usd` would stay within the cap."""
        return self.cap_usd is None or self.spent_usd + usd <= self.cap_usd + 1e-12

    def charge(self, what: str, usd: float | None, device_seconds: float = 0.0, *, reused_readings: int = 0) -> None:
        """Enter a charge; under a cap an unpriced one raises `UnpricedCallError`, one that passes it `CostCapError`.

        The charge is entered in every case: the money is gone, and the report must say so.
        """
        if usd is not None and usd < 0:
            raise ValueError(f"a charge cannot be negative: {what!r} {usd!r}")
        affordable = usd is None or self.affords(usd)
        self._charges.append(Charge(what=what, usd=usd, device_seconds=device_seconds, reused_readings=reused_readings))
        if self.cap_usd is None:
            return
        if usd is None:
            raise UnpricedCallError(
                f"{what!r} has no price, but the query is capped at {self.cap_usd!r} USD",
                remedy="give the backend a price, or drop the cost objective",
                what=what,
            )
        if not affordable:
            raise CostCapError(
                f"{what!r} brings the query to {self.spent_usd:.6f} USD, over its cap of {self.cap_usd!r}",
                remedy="raise usd_per_query, or choose a smaller plan",
                what=what,
            )
