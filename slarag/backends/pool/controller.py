"""Lets a policy drive a pool."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass

from ...sla.errors import BackendError
from .driver import PoolDriver
from .observation import Observation, Policy, Target

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Decision:
    """A change that was asked for, and what was seen of the pool then."""

    seen: Observation
    target: Target

    @property
    def line(self) -> str:
        """In words."""
        seen = self.seen
        rate = seen.arrivals / seen.interval_s
        return (
            f"{seen.devices} -> {self.target.devices} devices: {rate:.1f} requests/s, {seen.waiting} waiting, "
            f"{seen.running} running, {seen.met} of {seen.finished} within their objectives"
        )


class PoolController:
    """Observes, decides and scales every `interval_s`; a pool that cannot be read is asked again the next time.

    on_look: told of every observation. on_decision: told of every change that was asked for.
    """

    def __init__(
        self,
        driver: PoolDriver,
        policy: Policy,
        *,
        interval_s: float = 5.0,
        on_look: Callable[[Observation], None] = lambda _: None,
        on_decision: Callable[[Decision], None] = lambda _: None,
    ) -> None:
        self._driver = driver
        self._policy = policy
        self._interval_s = interval_s
        self._on_look = on_look
        self._on_decision = on_decision
        self._standbys: int | None = None

    async def run(self) -> None:
        """Control until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.step()

    async def step(self) -> Target | None:
        """One round; returns what was asked for, None if nothing was changed."""
        try:
            seen = await self._driver.observe()
            self._on_look(seen)
            wanted = self._policy.decide(seen)
            has_enough_standbys = wanted.standbys in {None, self._standbys}
            if seen.is_resizing or (wanted.devices == seen.devices and has_enough_standbys):
                return None
            await self._driver.scale(wanted)
        except BackendError as error:
            _log.warning("the pool was not controlled this time: %s", error)
            return None
        self._standbys = wanted.standbys
        self._on_decision(Decision(seen, wanted))
        return wanted
