"""Lets a policy drive a pool."""

from __future__ import annotations

import asyncio
import logging

from ...sla.errors import BackendError
from .driver import PoolDriver
from .observation import Policy, Target

_log = logging.getLogger(__name__)


class PoolController:
    """Observes, decides and scales every `interval_s`; a pool that cannot be read is asked again the next time."""

    def __init__(self, driver: PoolDriver, policy: Policy, *, interval_s: float = 5.0) -> None:
        self._driver = driver
        self._policy = policy
        self._interval_s = interval_s
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
            wanted = self._policy.decide(seen)
            has_enough_standbys = wanted.standbys in {None, self._standbys}
            if seen.is_resizing or (wanted.devices == seen.devices and has_enough_standbys):
                return None
            await self._driver.scale(wanted)
        except BackendError as error:
            _log.warning("the pool was not controlled this time: %s", error)
            return None
        self._standbys = wanted.standbys
        return wanted
