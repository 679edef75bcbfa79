"""What a call cost, also one that failed."""

from __future__ import annotations

from dataclasses import dataclass

from ..sla.errors import BackendError
from .protocol import Usage


@dataclass(frozen=True, slots=True)
class Cost:
    """What one call used, and its price in USD; None for a backend without one."""

    usage: Usage
    usd: float | None

    @classmethod
    def of_failure(cls, error: BackendError) -> Cost | None:
        """What a failed call cost, where the backend could say (a useless reply is paid for too)."""
        usage, usd = error.details.get("usage"), error.details.get("usd")
        if not isinstance(usage, Usage):
            return None
        return cls(usage, float(usd) if isinstance(usd, int | float) else None)
