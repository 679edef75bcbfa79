"""Pools that a policy can drive, over vLLM's HTTP: slarag's own and a vLLM cluster with elastic expert parallelism.

Handled of vLLM 0.33: while it switches, whoever asked for that, every path but `/health` answers 503; a scale-up sets
its counters back to zero; requests of removed ranks are aborted unless they are drained; the call to scale returns only
when it is done, and there is no way back from one that failed. So after a call that failed the size is doubted: the
pool is asked until nothing switches any more, and then counted. slarag's pool answers 408 to a call whose time is over,
and the resize goes on. Attainment comes from vLLM's histograms of the time to the first token and of the mean time per
further token of a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol, cast

import httpx

from ...sla.errors import BackendError, BackendReplyError, BackendUnavailableError
from .observation import Observation, Switch, Target
from .prometheus import Samples
from .service import Objectives

_log = logging.getLogger(__name__)
_UNAVAILABLE = 503
_RUNNING, _WAITING = "vllm:num_requests_running", "vllm:num_requests_waiting"
_CACHE = "vllm:kv_cache_usage_perc"
_DEVICES, _STANDBYS, _RESIZES = "slarag:devices", "slarag:standbys", "slarag:is_resizing"
_FINISHED = "vllm:request_success_total"
_WITH_DEADLINE, _MET_DEADLINE = "slarag:requests_with_deadline_total", "slarag:deadlines_met_total"
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
    understands and vLLM does not. drain_timeout_s: how long requests of a leaving device may go on (vLLM). poll_s:
    between two questions whether a resize goes on whose call failed. clock: in seconds, from any moment on. Raises
    `BackendUnavailableError` when it cannot be reached.
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
        poll_s: float = 0.5,
        transport: httpx.AsyncBaseTransport | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.AsyncClient(base_url=base_url, headers=headers, transport=transport, timeout=10.0)
        self._objectives = objectives or Objectives()
        self._takes_standbys = takes_standbys
        self._drain_timeout_s = drain_timeout_s
        self._poll_s = poll_s
        self._devices = devices
        self._target = devices
        self._resize: asyncio.Task[None] | None = None
        self._doubted: frozenset[int] | None = None
        self._is_switched_by_others = False
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
            self._is_switched_by_others = not self._is_resizing
            samples = before
        else:
            self._take(samples)
        return self._observation(now, interval_s, before, samples)

    async def scale(self, target: Target) -> None:
        """See `PoolDriver.scale`; a resize that runs is not interrupted, and the call is then refused."""
        if self._is_resizing or self._is_switched_by_others:
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
        if self.error is not None:
            _log.warning("a resize from %d to %d devices was not done: %s", source, target.devices, self.error)
        size = target.devices if self.error is None else await self._size_afterwards(source, target.devices)
        self._devices = self._target = size
        if source != size == target.devices:
            self.error = None
            seconds = self._clock() - asked_at
            self._switches.append(Switch(source=source, target=size, seconds=seconds, standbys=standbys))

    async def _size_afterwards(self, source: int, target: int) -> int:
        """What a failed call has left, once nothing switches any more; doubted where the pool does not tell."""
        while (told := await self._scaling()) is None or told.get("is_scaling_elastic_ep"):  # noqa: ASYNC110
            await asyncio.sleep(self._poll_s)
        if isinstance(size := told.get("size"), int):
            return size
        self._doubted = frozenset({source, target})
        return source

    async def _scaling(self) -> dict[str, Any] | None:
        """What the pool says of its resize, nothing where it does not know the call; None while it cannot be asked."""
        try:
            samples = await self._samples()
            if samples is None:
                return None
            if samples.totals.get(_DEVICES) == 0:
                # Asking a pool that sleeps would wake it.
                return {"size": 0}
            reply = await self._client.post("/is_scaling_elastic_ep")
        except (httpx.HTTPError, BackendError):
            return None
        if reply.status_code == _UNAVAILABLE:
            return None
        return _object_in(reply) if reply.is_success else {}

    def _take(self, samples: Samples) -> None:
        """Keep what the pool counts, and how many devices it has by that, where it tells or there is doubt."""
        self._before = samples
        if self._is_resizing:
            return
        if self._is_switched_by_others and self._doubted is None:
            self._doubted = frozenset()
        self._is_switched_by_others = False
        engines = samples.series.get(_RUNNING, 0)
        if _DEVICES in samples.totals:
            # A pool that tells its size may have changed it on its own: it woke up, or lost a device for good.
            self._devices = self._target = round(samples.get(_DEVICES))
            self._is_switched_by_others = samples.get(_RESIZES) > 0
        elif self._doubted is not None and (engines > 1 or engines in self._doubted):
            # Of vLLM's engines each has its own counters, unless they are behind servers of their own.
            self._devices = self._target = engines
        self._doubted = None

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
            with_deadline=round(seen.since(before, _WITH_DEADLINE)),
            met_deadline=round(seen.since(before, _MET_DEADLINE)),
            interval_s=interval_s,
            cache_used=min(1.0, seen.mean(_CACHE)),
            is_resizing=self._is_resizing or self._is_switched_by_others,
            switches=switches,
        )

    def _met_share(self, before: Samples, seen: Samples) -> float:
        """Requests that met both objectives, as if missing one said nothing about the other."""
        ttft = seen.share_within(before, _TTFT, self._objectives.ttft_s)
        itls = (seen.share_within(before, name, self._objectives.itl_s) for name in _ITL)
        itl = next((share for share in itls if share is not None), None)
        return (1.0 if ttft is None else ttft) * (1.0 if itl is None else itl)


def _object_in(reply: httpx.Response) -> dict[str, Any]:
    """The JSON object of a reply; an empty one where it holds none."""
    try:
        body: Any = reply.json()
    except ValueError:
        return {}
    return cast("dict[str, Any]", body) if isinstance(body, dict) else {}
