"""Pools that a policy can drive, over vLLM's HTTP: slarag's own and a vLLM cluster with elastic expert parallelism.

Handled of vLLM 0.33: while it switches, every path but `/health` answers 503; a scale-up sets its counters back to
zero; requests of removed ranks are aborted unless they are drained; the call to scale returns only when it is done, and
there is no way back from one that failed.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from dataclasses import replace
from typing import Protocol

import httpx

from ...sla.errors import BackendReplyError, BackendUnavailableError
from .observation import Observation

_SAMPLE = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{[^}]*\})? ([-+.\deE]+|NaN)$", re.MULTILINE)
_UNAVAILABLE = 503


class PoolDriver(Protocol):
    """A pool to observe and to scale."""

    async def observe(self) -> Observation:
        """The pool now, and since the last call."""
        ...

    async def scale(self, devices: int) -> None:
        """Start to have `devices`; returns at once. `Observation.is_resizing` says when it is done."""
        ...

    async def aclose(self) -> None:
        """Let go of the pool; it goes on serving."""
        ...


class HttpPool:
    """A pool behind vLLM's HTTP.

    devices: how many it has now; vLLM does not say. token: for slarag's control calls. drain_timeout_s: how long
    requests of a leaving device may go on (vLLM). Raises `BackendUnavailableError` when it cannot be reached.
    """

    def __init__(
        self,
        base_url: str,
        *,
        devices: int,
        token: str = "",
        drain_timeout_s: float = 120.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._client = httpx.AsyncClient(base_url=base_url, headers=headers, transport=transport, timeout=10.0)
        self._drain_timeout_s = drain_timeout_s
        self._devices = devices
        self._target = devices
        self._resize: asyncio.Task[None] | None = None
        self._before: dict[str, float] = {}
        self._asked_at = time.monotonic()
        self.error: str | None = None

    async def observe(self) -> Observation:
        """See `PoolDriver.observe`. While the pool switches, what was seen last counts on, with no arrivals."""
        now = time.monotonic()
        interval_s, self._asked_at = now - self._asked_at, now
        metrics = await self._metrics()
        if metrics is None:
            return self._observation(now, interval_s, self._before, {})
        counters = {name: value for name, value in metrics.items() if name.endswith("_total")}
        since = {name: _increase(self._before.get(name, 0.0), value) for name, value in counters.items()}
        in_flight_before = self._before.get("vllm:num_requests_running", 0.0) + self._before.get(
            "vllm:num_requests_waiting", 0.0
        )
        first = not self._before
        self._before = metrics
        seen = self._observation(now, interval_s, metrics, {} if first else since)
        finished = 0.0 if first else since.get("vllm:request_success_total", 0.0)
        arrivals = finished + seen.waiting + seen.running - in_flight_before
        return replace(seen, arrivals=max(0, round(arrivals)))

    async def scale(self, devices: int) -> None:
        """See `PoolDriver.scale`; a resize that runs is not interrupted, and the call is then refused."""
        if self._is_resizing:
            raise BackendUnavailableError("a resize is running", remedy="ask again when it is done")
        self._target = devices
        self._resize = asyncio.create_task(self._scale(devices))

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

    async def _scale(self, devices: int) -> None:
        body = {"new_data_parallel_size": devices, "drain_timeout": self._drain_timeout_s}
        try:
            reply = await self._client.post("/scale_elastic_ep", json=body, timeout=None)
            self.error = None if reply.is_success else f"status {reply.status_code}: {reply.text[:200]}"
        except httpx.HTTPError as error:
            self.error = f"{type(error).__name__}: {error}"
        if self.error is None:
            self._devices = devices
        else:
            self._target = self._devices

    async def _metrics(self) -> dict[str, float] | None:
        """The samples by name, labels added up; None while the pool switches."""
        try:
            reply = await self._client.get("/metrics")
        except httpx.HTTPError as error:
            raise BackendUnavailableError(f"cannot reach the pool: {error}", remedy="is it running?") from error
        if reply.status_code == _UNAVAILABLE:
            return None
        if not reply.is_success:
            raise BackendReplyError(f"/metrics answered {reply.status_code}")
        found: dict[str, float] = {}
        for name, value in _SAMPLE.findall(reply.text):
            found[name] = found.get(name, 0.0) + float(value)
        return found

    def _observation(
        self, now: float, interval_s: float, metrics: dict[str, float], since: dict[str, float]
    ) -> Observation:
        return Observation(
            now=now,
            devices=self._target,
            waiting=round(metrics.get("vllm:num_requests_waiting", 0.0)),
            running=round(metrics.get("vllm:num_requests_running", 0.0)),
            arrivals=0,
            input_tokens=round(since.get("vllm:prompt_tokens_total", 0.0)),
            output_tokens=round(since.get("vllm:generation_tokens_total", 0.0)),
            interval_s=max(interval_s, 1e-6),
            is_resizing=self._is_resizing,
        )


def _increase(before: float, now: float) -> float:
    """A counter's increase; one that is lower than before was set back, and all of it is new."""
    return now - before if now >= before else now
