"""A pool in a discrete-event simulation: every figure that comes from it is simulated.

Two kinds of resize: "live", as slarag's, in which the pool serves on, and "refusing", as vLLM's, in which requests that
arrive while it switches get status 503 and count as missed. An answer whose deadline passes goes on here, where
slarag's pool would end it.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from .observation import Observation, Policy, Switch, Target
from .service import Floats, Objectives, ServiceModel
from .sim_device import SimDevice, SimRequest
from .trace import Arrival

ResizeKind = Literal["live", "refusing"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedRun:
    """What a policy achieved; simulated.

    attainment: share of requests that met both objectives. device_seconds: from the command to join until the device
    has left. ttfts and itls: by request, in no order. refused: requests that got a 503. cold_starts: from no device at
    all. mean_standbys: over time. deadline_attainment: share of the requests with a deadline that met it.
    """

    attainment: float
    device_seconds: float
    requests: int
    resizes: int
    peak_devices: int
    ttft_p99_s: float
    ttfts: Floats = field(default_factory=lambda: np.empty(0), repr=False)
    itls: Floats = field(default_factory=lambda: np.empty(0), repr=False)
    refused: int = 0
    cold_starts: int = 0
    mean_standbys: float = 0.0
    deadline_attainment: float | None = None


@dataclass(slots=True)
class _Tally:
    """What is counted on the way."""

    done: int = 0
    met: int = 0
    with_deadline: int = 0
    met_deadline: int = 0
    refused: int = 0
    resizes: int = 0
    cold_starts: int = 0
    peak: int = 0
    device_seconds: float = 0.0
    standby_seconds: float = 0.0


class Simulator:
    """Replays a trace under a policy; one run each. `advance`, `observe` and `apply` take it through step by step.

    interval_s: between decisions. devices: at the start. standbys: at the start, and for policies that name none.
    """

    def __init__(
        self,
        model: ServiceModel,
        objectives: Objectives,
        trace: Sequence[Arrival],
        *,
        devices: int = 1,
        standbys: int = 1,
        interval_s: float = 5.0,
        resize: ResizeKind = "live",
    ) -> None:
        self._model = model
        self._objectives = objectives
        self._trace = trace
        self._interval_s = interval_s
        self._resize_kind = resize
        self._arrivals, self._since = deque(trace), list[Arrival]()
        self._order = itertools.count()
        self._step_times: dict[tuple[int, int, int], float] = {}
        self._devices: dict[int, SimDevice] = {}
        self._loads = np.full(max(64, devices), np.inf)
        self._free = list(range(len(self._loads)))[::-1]
        self._events: list[tuple[float, int, SimDevice | None, int]] = []
        self._joining, self._leaving = 0, list[SimDevice]()
        self._switching, self._switches = list[Switch](), list[Switch]()
        self._unrouted: deque[SimRequest] = deque()
        self._now = 0.0
        self._standbys = standbys
        self._target = devices
        self._tally = _Tally(peak=devices)
        self._seen = _Tally()
        self._ttfts, self._itls = list[float](), list[float]()
        for _ in range(devices):
            self._join()

    def run(self, policy: Policy) -> SimulatedRun:
        """Replay the whole trace; ends when the last request has."""
        decision_at = self._interval_s
        while self._go_on(decision_at, is_over=lambda: self._tally.done == len(self._trace)):
            self.apply(policy.decide(self.observe()))
            decision_at += self._interval_s
        return self._result()

    def advance(self) -> None:
        """Let an interval pass, also one in which nothing comes any more."""
        self._go_on(self._now + self._interval_s, is_over=lambda: False)

    def _go_on(self, until: float, *, is_over: Callable[[], bool]) -> bool:
        """Let time pass; returns whether `until` was reached before it was over."""
        while not is_over():
            arrival_at = self._arrivals[0].at if self._arrivals else math.inf
            event_at = self._events[0][0] if self._events else math.inf
            self._pass_time(min(until, arrival_at, event_at))
            if arrival_at == self._now:
                self._since.append(self._arrivals[0])
                self._arrive(self._arrivals.popleft())
            elif event_at == self._now:
                self._handle(*heapq.heappop(self._events)[2:])
            else:
                return True
        return False

    def _pass_time(self, now: float) -> None:
        elapsed = now - self._now
        self._tally.device_seconds += elapsed * (len(self._devices) + self._joining)
        self._tally.standby_seconds += elapsed * self._standbys
        self._now = now

    def _result(self) -> SimulatedRun:
        tally = self._tally
        return SimulatedRun(
            attainment=tally.met / max(1, tally.done),
            device_seconds=tally.device_seconds,
            requests=tally.done,
            resizes=tally.resizes,
            peak_devices=tally.peak,
            ttft_p99_s=float(np.quantile(self._ttfts, 0.99)) if self._ttfts else 0.0,
            ttfts=np.array(self._ttfts),
            itls=np.array(self._itls),
            refused=tally.refused,
            cold_starts=tally.cold_starts,
            mean_standbys=tally.standby_seconds / self._now if self._now else 0.0,
            deadline_attainment=tally.met_deadline / tally.with_deadline if tally.with_deadline else None,
        )

    @property
    def is_resizing(self) -> bool:
        """Whether a resize runs."""
        return bool(self._joining or self._leaving)

    @property
    def _is_ending(self) -> bool:
        """Whether no device will be left, so that requests have to wait."""
        return len(self._devices) == len(self._leaving)

    def observe(self) -> Observation:
        """The pool now, and since the last call."""
        since, self._since = self._since, []
        tally, before = self._tally, self._seen
        self._seen = replace(tally)
        switches, self._switches = tuple(self._switches), []
        return Observation(
            now=self._now,
            devices=self._target,
            waiting=sum(len(device.waiting) for device in self._devices.values()) + len(self._unrouted),
            running=sum(device.running for device in self._devices.values()),
            arrivals=len(since),
            input_tokens=sum(a.input_tokens for a in since),
            output_tokens=sum(device.produced_until(self._now) for device in self._devices.values()),
            finished=tally.done - before.done,
            met=tally.met - before.met,
            with_deadline=tally.with_deadline - before.with_deadline,
            met_deadline=tally.met_deadline - before.met_deadline,
            interval_s=self._interval_s,
            is_resizing=self.is_resizing,
            switches=switches,
        )

    def apply(self, wanted: Target) -> None:
        """Start to have as many, unless a resize runs; devices that are in use need at least one."""
        is_in_use = len(self._unrouted) or any(d.waiting or d.running for d in self._devices.values())
        devices = max(wanted.devices, 1 if is_in_use else 0)
        if devices != self._target and not self.is_resizing:
            self._tally.resizes += 1
            self._tally.peak = max(self._tally.peak, devices)
            self._resize(devices - self._target)
        if wanted.standbys is not None:
            self._standbys = wanted.standbys

    def _resize(self, change: int) -> None:
        is_cold = self._target == 0
        self._target += change
        if change > 0:
            self._joining = change
            is_ready = not is_cold and change <= self._standbys
            boot_s = 0.0 if is_ready else self._model.boot_s
            seconds = self._model.cold_start_s if is_cold else self._model.scale_up_s + boot_s
        else:
            # Those that came last; until the resize commits they take requests like the others.
            self._leaving = list(self._devices.values())[change:]
            seconds = self._model.scale_down_s
        before = self._target - change
        self._switching = [Switch(source=before, target=self._target, seconds=seconds, standbys=self._standbys)]
        heapq.heappush(self._events, (self._now + seconds, next(self._order), None, 0))

    def _handle(self, device: SimDevice | None, version: int) -> None:
        if device is None:
            self._finish_resize()
        elif device.version == version:
            for request in device.finish(self._now).done:
                self._complete(request)
            self._begin(device)

    def _finish_resize(self) -> None:
        for _ in range(self._joining):
            self._join()
        left, self._joining, self._leaving = self._leaving, 0, []
        self._switches, self._switching = self._switches + self._switching, []
        for device in left:
            device.version += 1
            del self._devices[device.slot]
            self._loads[device.slot] = np.inf
            self._free.append(device.slot)
        if self._devices:
            for device in left:
                for request, tokens_left in device.carry_out(self._now):
                    target = self._least_loaded()
                    target.carry_in(request, tokens_left)
                    self._loads[target.slot] = target.load
        self._spread_waiting(left)
        for device in self._devices.values():
            self._disturb(device)
        if self._unrouted:
            self._wake()

    def _spread_waiting(self, left: Sequence[SimDevice]) -> None:
        """Deal the requests that have not begun again over all devices, as the pool does."""
        waiting = [*self._unrouted]
        for device in (*left, *self._devices.values()):
            waiting += device.take_waiting()
            if device.slot in self._devices:
                self._loads[device.slot] = device.load
        self._unrouted.clear()
        for request in sorted(waiting, key=lambda request: request.arrival.at):
            if self._devices:
                self._route(request)
            else:
                self._unrouted.append(request)

    def _join(self) -> None:
        if not self._free:
            self._free = list(range(2 * len(self._loads) - 1, len(self._loads) - 1, -1))
            self._loads = np.concatenate((self._loads, np.full(len(self._loads), np.inf)))
        device = SimDevice(self._model, self._step_seconds, self._free.pop())
        self._devices[device.slot] = device
        self._loads[device.slot] = 0.0

    def _arrive(self, arrival: Arrival) -> None:
        if self._resize_kind == "refusing" and self.is_resizing:
            self._tally.done += 1
            self._tally.refused += 1
            self._tally.with_deadline += arrival.deadline_s is not None
            return
        request = SimRequest(arrival, arrival.input_tokens)
        if self._is_ending:
            self._unrouted.append(request)
            self._wake()
        else:
            device = self._route(request)
            if device.ends is None or device.has_room:
                self._disturb(device)

    def _wake(self) -> None:
        """A request at a pool of no device wakes one."""
        if self._target == 0 and not self.is_resizing:
            self._tally.cold_starts += 1
            self.apply(Target(1))

    def _route(self, request: SimRequest) -> SimDevice:
        device = self._least_loaded()
        device.add(request, self._now)
        self._loads[device.slot] = device.load
        return device

    def _least_loaded(self) -> SimDevice:
        return self._devices[int(self._loads.argmin())]

    def _complete(self, request: SimRequest) -> None:
        ttft = request.first_token_at - request.arrival.at
        itl = (self._now - request.first_token_at) / max(1, request.arrival.output_tokens - 1)
        self._ttfts.append(ttft)
        self._itls.append(itl)
        self._tally.done += 1
        self._tally.met += ttft <= self._objectives.ttft_s and itl <= self._objectives.itl_s
        if (deadline_s := request.arrival.deadline_s) is not None:
            self._tally.with_deadline += 1
            self._tally.met_deadline += self._now <= request.arrival.at + deadline_s

    def _disturb(self, device: SimDevice) -> None:
        """Something has come to a device, or its peers are others now: it plans anew as soon as it can."""
        if device.ends is None:
            self._begin(device)
        else:
            before = device.ends
            device.cut(self._now)
            if device.ends != before:
                self._expect(device)

    def _begin(self, device: SimDevice) -> None:
        device.begin(self._now, len(self._devices))
        self._loads[device.slot] = device.load
        self._expect(device)

    def _expect(self, device: SimDevice) -> None:
        """Put its next event among the others'."""
        device.version += 1
        if device.ends is not None:
            heapq.heappush(self._events, (max(device.ends, self._now), next(self._order), device, device.version))

    def _step_seconds(self, tokens: int, answers: int, devices: int) -> float:
        key = tokens, answers, devices
        if (known := self._step_times.get(key)) is None:
            known = self._step_times[key] = float(self._model.step_seconds(*key))
        return known
