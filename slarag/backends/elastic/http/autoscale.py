"""A pool that sizes itself: a policy drives it over the same HTTP that others would."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import httpx
from starlette.types import ASGIApp

from ...pool.controller import Decision, PoolController
from ...pool.driver import HttpPool
from ...pool.observation import Observation, Policy, PolicyName
from ...pool.policy import ForecastPolicy, PolicyLimits
from ...pool.references import QueueThreshold, TargetOngoing
from ...pool.service import Objectives, ServiceModel
from ...pool.service_file import to_figures
from ...pool.switching import relearnt
from ..calibration import calibrated_model
from ..serve.engine import PoolEngine
from ..serve.reading import ReadingEngine

_KEPT = 8
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoscaleSettings:
    """How a pool sizes itself.

    policy: `forecast` is slarag's; `queue` and `ongoing` are the threshold on requests in flight and Ray Serve's
    target, with `per_device` of them on a device, by default half of a batch. floor and ceiling: devices; a floor of 0
    ends a quiet pool. objectives: what it is sized for. interval_s: between decisions.
    """

    policy: PolicyName = "forecast"
    floor: int = 1
    ceiling: int = 8
    objectives: Objectives = field(default_factory=Objectives)
    interval_s: float = 5.0
    per_device: float | None = None

    def make_policy(self, model: ServiceModel) -> Policy:
        """The policy for devices of that model."""
        per_device = self.per_device or model.max_sequences / 2
        if self.policy == "queue":
            return QueueThreshold(per_device, floor=self.floor, ceiling=self.ceiling)
        if self.policy == "ongoing":
            return TargetOngoing(per_device, floor=self.floor, ceiling=self.ceiling)
        return ForecastPolicy(model, self.objectives, PolicyLimits(floor=self.floor, ceiling=self.ceiling))


class Autoscaler:
    """Sizes one pool and remembers why. on_line: told of each decision in words, as is the log."""

    def __init__(self, settings: AutoscaleSettings, on_line: Callable[[str], None] = lambda _: None) -> None:
        self.settings = settings
        self._on_line = on_line
        self._model: ServiceModel | None = None
        self._last: Observation | None = None
        self._decisions: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self._count = self._finished = self._met = 0
        self._with_deadline = self._met_deadline = 0

    async def calibrate(self, engine: PoolEngine | ReadingEngine) -> None:
        """Measure a pool before it serves; one that wakes up again is taken to be as it was."""
        if self._model is None:
            self._model = await calibrated_model(engine)

    @asynccontextmanager
    async def controlling(
        self, app: ASGIApp, *, token: str, devices: int, cold_start_s: float | None
    ) -> AsyncGenerator[None]:
        """Control the calibrated pool behind `app`. token: that it takes for control calls."""
        model = self._model or ServiceModel()
        if cold_start_s is not None:
            model = replace(model, cold_start_s=cold_start_s)
        driver = HttpPool(
            "http://pool",
            devices=devices,
            token=token,
            objectives=self.settings.objectives,
            takes_standbys=True,
            transport=httpx.ASGITransport(app, raise_app_exceptions=False),
        )
        controller = PoolController(
            driver,
            self.settings.make_policy(model),
            interval_s=self.settings.interval_s,
            on_look=self.looked,
            on_decision=self.decided,
        )
        await driver.observe()
        task = asyncio.create_task(controller.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await driver.aclose()

    def status(self) -> dict[str, Any]:
        """Settings, how many requests met their objectives since the start, and the last decisions, newest last.

        resize_s: what a resize up and down is taken to last by now; None before the pool was measured.
        """
        settings, model = asdict(self.settings), self._model
        return {
            **settings,
            "attainment": self._met / self._finished if self._finished else None,
            "deadline_attainment": self._met_deadline / self._with_deadline if self._with_deadline else None,
            "finished": self._finished,
            "resize_s": model and {"up": model.scale_up_s, "down": model.scale_down_s},
            "target": self._decisions[-1]["to"] if self._decisions else None,
            "count": self._count,
            "decisions": list(self._decisions),
        }

    @property
    def figures(self) -> dict[str, float] | None:
        """What was measured of a device, and learnt of resizes since; None before that."""
        return self._model and to_figures(self._model)

    def looked(self, seen: Observation) -> None:
        """Count an observation's requests, and learn from its resizes."""
        if self._model is not None:
            self._model = relearnt(self._model, seen.switches)
        self._finished += seen.finished
        self._met += seen.met
        self._with_deadline += seen.with_deadline
        self._met_deadline += seen.met_deadline

    def decided(self, decision: Decision) -> None:
        """Tell and keep a decision about devices; standbys alone are not worth a line."""
        if decision.target.devices == decision.seen.devices:
            return
        _log.info("autoscale: %s", decision.line)
        self._on_line(decision.line)
        self._count += 1
        self._decisions.append(
            {
                "at": time.time(),
                "from": decision.seen.devices,
                "to": decision.target.devices,
                "standbys": decision.target.standbys,
                "why": decision.line.partition(": ")[2],
            }
        )
