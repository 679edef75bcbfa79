"""What a routed call cost over all its attempts."""

from __future__ import annotations

from ..cost import Cost
from ..protocol import Usage


class Account:
    """Adds costs up. An attempt without a price leaves the sum without one: a partial sum would pass for the whole."""

    def __init__(self) -> None:
        self._usage = Usage()
        self._usd: float | None = 0.0

    @property
    def total(self) -> Cost:
        """The sum so far."""
        return Cost(self._usage, self._usd)

    def add(self, cost: Cost) -> None:
        """Enter the cost of one attempt."""
        self._usage = Usage(
            input_tokens=self._usage.input_tokens + cost.usage.input_tokens,
            output_tokens=self._usage.output_tokens + cost.usage.output_tokens,
            device_seconds=self._usage.device_seconds + cost.usage.device_seconds,
            reused_readings=self._usage.reused_readings + cost.usage.reused_readings,
        )
        self._usd = None if self._usd is None or cost.usd is None else self._usd + cost.usd
