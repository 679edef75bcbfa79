"""Pools that a policy can drive, over vLLM's HTTP: slarag's own and a vLLM cluster with elastic expert parallelism.

Handled of vLLM 0.33: while it switches, every path but `/health` answers 503; a scale-up sets its counters back to
zero; requests of removed ranks are aborted unless they are drained; the call to scale returns only when it is done, and
there is no way back from one that failed. Attainment comes from its histograms of the time to the first token and of
the mean time per further token of a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Any, Protocol

import httpx

from ...sla.errors import BackendReplyError, BackendUnavailableError
from .observation import Observation, Switch, Target
from .prometheus import Samples
from .service import Objectives

_UNAVAILABLE = 503
_RUNNING, _WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
_DEVICES, _STANDBYS = "slarag:devices", "slarag:standbys"
_FINISHED = "vllm:request_success_total"
_TTFT = "vllm:time_to_first_token_seconds"
_ITL = ("vllm:request_time_per_output_token_seconds", "vllm:inter_token_latency_seconds")


class PoolDriver(Protocol):
    """A pool to observe and to scale."""

    async def observe(self) -> Observation:
        """The pool now, and since the last call."""
        ...

    async def scale(self, target: Target) -> None:
        """Start to have as many; returns at once. `Observation.is_resizing` says when it is done."""
        ...

    async def aclose(self) -> None:
        """Let go of the pool; it goes on serving."""
        ...


class HttpPool:
    """A pool behind vLLM's HTTP.

    devices: how many it has now; slarag's pool says it itself, vLLM does not. token: for slarag's control calls.
    objectives: that requests are counted by. takes_standbys: it is told how many standbys to keep, as slarag's pool
    understands and vLLM does not. drain_timeout_s: how long requests of a leaving device may go on (vLLM). clock: in
    seconds, from any moment on. Raises `BackendUnavailableError` when it cannot be reached.
    """

    def __init__(  # noqa: PLR0913 - one parameter a setting
        self,
        base_url: str,
        *,
        devices: int,
        token: str = "",
        objectives: Objectives | None = None,
        takes_standbys: bool = False,
        drain_timeout_s: float = 120.0,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.AsyncClient(base_url=base_url, headers=headers, transport=transport, timeout=10.0)
        self._objectives = objectives or Objectives()
        self._takes_standbys = takes_standbys
        self._drain_timeout_s = drain_timeout_s
        self._devices = devices
        self._target = devices
        self._resize: asyncio.Task[None] | None = None
        self._before: Samples | None = None
        self._switches: list[Switch] = []
        self._clock = clock
        self._asked_at = clock()
        self.error: str | None = None

    async def observe(self) -> Observation:
        """See `PoolDriver.observe`. While the pool switches, what was seen last counts on, with no arrivals."""
        now = self._clock()
        interval_s, self._asked_at = max(now - self._asked_at, 1e-6), now
        samples = await self._samples()
        before = self._before or samples or Samples()
        if samples is None:
            samples = before
        else:
            self._before = samples
        return self._observation(now, interval_s, before, samples)

    async def scale(self, target: Target) -> None:
        """See `PoolDriver.scale`; a resize that runs is not interrupted, and the call is then refused."""
        if self._is_resizing:
            raise BackendUnavailableError("a resize is running", remedy="ask again when it is done")
        self._target = target.devices
        self._resize = asyncio.create_task(self._scale(target))

    async def aclose(self) -> None:
        """See `PoolDriver.aclose`."""
        if self._resize is not None:
            self._resize.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._resize
        await self._client.aclose()

    @property
    def _is_resizing(self) -> bool:
        return self._resize is not None and not self._resize.done()

    async def _scale(self, target: Target) -> None:
        body: dict[str, Any] = {"new_data_parallel_size": target.devices, "drain_timeout": self._drain_timeout_s}
        if self._takes_standbys and target.standbys is not None:
            body["standbys"] = target.standbys
        source, standbys, asked_at = self._devices, self._standbys, self._clock()
        try:
            reply = await self._client.post("/scale_elastic_ep", json=body, timeout=None)
            self.error = None if reply.is_success else f"status {reply.status_code}: {reply.text[:200]}"
        except httpx.HTTPError as error:
            self.error = f"{type(error).__name__}: {error}"
        if self.error is None:
            self._devices = target.devices
            if source != target.devices:
                seconds = self._clock() - asked_at
                self._switches.append(Switch(source=source, target=target.devices, seconds=seconds, standbys=standbys))
        else:
            self._target = self._devices

    @property
    def _standbys(self) -> int | None:
        """Booted processes at the last look; None where the pool does not tell."""
        if self._before is None or _STANDBYS not in self._before.totals:
            return None
        return round(self._before.get(_STANDBYS))

    async def _samples(self) -> Samples | None:
        """What it counts; None while the pool switches."""
        try:
            reply = await self._client.get("/metrics")
        except httpx.HTTPError as error:
            raise BackendUnavailableError(f"cannot reach the pool: {error}", remedy="is it running?") from error
        if reply.status_code == _UNAVAILABLE:
            return None
        if not reply.is_success:
            raise BackendReplyError(f"/metrics answered {reply.status_code}")
        return Samples.read(reply.text)

    def _observation(self, now: float, interval_s: float, before: Samples, seen: Samples) -> Observation:
        finished = seen.since(before, _FINISHED)
        in_flight = seen.get(_RUNNING) + seen.get(_WAITING)
        arrivals = finished + in_flight - before.get(_RUNNING) - before.get(_WAITING)
        if not self._is_resizing and _DEVICES in seen.totals:
            # A pool that tells its size may have changed it on its own: it woke up, or lost a device for good.
            self._devices = self._target = round(seen.get(_DEVICES))
        switches, self._switches = tuple(self._switches), []
        return Observation(
            now=now,
            devices=self._target,
            waiting=round(seen.get(_WAITING)),
            running=round(seen.get(_RUNNING)),
            arrivals=max(0, round(arrivals)),
            input_tokens=round(seen.since(before, "vllm:prompt_tokens_total")),
            output_tokens=round(seen.since(before, "vllm:generation_tokens_total")),
            finished=round(finished),
            met=round(finished * self._met_share(before, seen)),
            interval_s=interval_s,
            is_resizing=self._is_resizing,
            switches=switches,
        )

    def _met_share(self, before: Samples, seen: Samples) -> float:
        """Requests that met both objectives, as if missing one said nothing about the other."""
        ttft = seen.share_within(before, _TTFT, self._objectives.ttft_s)
        itls = (seen.share_within(before, name, self._objectives.itl_s) for name in _ITL)
        itl = next((share for share in itls if share is not None), None)
        return (1.0 if ttft is None else ttft) * (1.0 if itl is None else itl)
