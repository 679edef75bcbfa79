"""A pool in a discrete-event simulation: every figure that comes from it is simulated.

A device advances all its answers at the same pace, which depends on how many they are, on whether a part of a prompt is
in the step, and on the number of devices. So an answer ends when the device's count of steps reaches a number that is
known at its start, and a trace costs a few events per request, not one per token.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from .observation import Observation, Policy
from .service import Objectives, ServiceModel
from .trace import Arrival


@dataclass(eq=False, slots=True)
class _Request:
    arrival: Arrival
    prefill_left: float
    first_token_at: float = -1.0
    ends_at_step: float = 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatedRun:
    """What a policy achieved; simulated. attainment: share of requests that met both objectives."""

    attainment: float
    device_seconds: float
    requests: int
    resizes: int
    peak_devices: int
    ttft_p99_s: float


@dataclass(eq=False, slots=True)
class _Device:
    """One device. steps: decode steps done, a fraction of one included."""

    model: ServiceModel
    number: int
    at: float
    prompts: deque[_Request] = field(default_factory=deque[_Request])
    answers: list[tuple[float, int, _Request]] = field(default_factory=list[tuple[float, int, _Request]])
    steps: float = 0.0
    version: int = 0
    is_leaving: bool = False

    @property
    def load(self) -> float:
        """For choosing a device: prompts weigh by their work."""
        return sum(r.prefill_left for r in self.prompts) * 20 + len(self.answers)

    @property
    def is_prefilling(self) -> bool:
        return bool(self.prompts) and len(self.answers) < self.model.max_answers

    def _paces(self, devices: int) -> tuple[float, float]:
        """Seconds of prefill and decode steps per second."""
        step = self.model.step_seconds(len(self.answers), devices) if self.answers else 0.0
        if not self.is_prefilling:
            return 0.0, 1 / step if step else 0.0
        cycle = self.model.chunk_seconds + step
        return self.model.chunk_seconds / cycle, 1 / cycle if step else 0.0

    def advance(self, now: float, devices: int) -> float:
        """Go on to `now`; returns the tokens produced."""
        prefill, decode = self._paces(devices)
        elapsed, self.at = now - self.at, now
        if prefill:
            self.prompts[0].prefill_left -= elapsed * prefill
        self.steps += elapsed * decode
        return elapsed * decode * len(self.answers)

    def next_event(self, devices: int) -> float | None:
        """When something ends, if nothing else happens."""
        prefill, decode = self._paces(devices)
        times: list[float] = []
        if prefill:
            times.append(max(0.0, self.prompts[0].prefill_left) / prefill)
        if self.answers:
            times.append(max(0.0, self.answers[0][0] - self.steps) / decode)
        return self.at + min(times) if times else None


class Simulator:
    """Replays a trace under a policy. interval_s: between decisions. devices: at the start."""

    def __init__(
        self,
        model: ServiceModel,
        objectives: Objectives,
        trace: Sequence[Arrival],
        *,
        devices: int = 1,
        interval_s: float = 5.0,
    ) -> None:
        self._model = model
        self._objectives = objectives
        self._trace = trace
        self._interval_s = interval_s
        self._numbers = itertools.count()
        self._order = itertools.count()
        self._devices: dict[int, _Device] = {}
        self._events: list[tuple[float, int, str, int, int]] = []
        self._now = 0.0
        self._produced = 0.0
        self._ttfts: list[float] = []
        self._met = 0
        self._done = 0
        for _ in range(devices):
            self._join()

    def run(self, policy: Policy) -> SimulatedRun:
        """Replay the whole trace; ends when the last request has."""
        device_seconds, resizes, peak, target = 0.0, 0, len(self._devices), len(self._devices)
        arrivals = deque(self._trace)
        seen: list[Arrival] = []
        decision_at = self._interval_s
        while self._done < len(self._trace):
            at = min(
                decision_at,
                arrivals[0].at if arrivals else float("inf"),
                self._events[0][0] if self._events else float("inf"),
            )
            device_seconds += (at - self._now) * max(target, len(self._devices))
            self._now = at
            if arrivals and arrivals[0].at == at:
                seen.append(arrivals[0])
                self._arrive(arrivals.popleft())
            elif self._events and self._events[0][0] == at:
                self._handle(heapq.heappop(self._events))
            else:
                wanted = policy.decide(self._observe(seen, target))
                decision_at += self._interval_s
                seen.clear()
                if wanted != target and target == self._serving:
                    resizes += 1
                    self._resize(wanted - target)
                    target = wanted
                    peak = max(peak, target)
        ordered = sorted(self._ttfts)
        return SimulatedRun(
            attainment=self._met / max(1, self._done),
            device_seconds=device_seconds,
            requests=self._done,
            resizes=resizes,
            peak_devices=peak,
            ttft_p99_s=ordered[int(0.99 * (len(ordered) - 1))] if ordered else 0.0,
        )

    @property
    def _serving(self) -> int:
        return len(self._devices)

    def _observe(self, seen: Sequence[Arrival], target: int) -> Observation:
        for device in self._devices.values():
            self._advance(device)
        produced, self._produced = self._produced, 0.0
        return Observation(
            now=self._now,
            devices=target,
            waiting=sum(len(d.prompts) for d in self._devices.values()),
            running=sum(len(d.answers) for d in self._devices.values()),
            arrivals=len(seen),
            input_tokens=sum(a.input_tokens for a in seen),
            output_tokens=int(produced),
            interval_s=self._interval_s,
            is_resizing=target != self._serving,
        )

    def _resize(self, change: int) -> None:
        if change > 0:
            for _ in range(change):
                self._push(self._now + self._model.scale_up_s, "join", -1, 0)
            return
        for device in sorted(self._devices.values(), key=lambda d: d.load)[:-change]:
            device.is_leaving = True
            self._push(self._now + self._model.scale_down_s, "leave", device.number, 0)

    def _join(self) -> None:
        device = _Device(self._model, next(self._numbers), self._now)
        self._devices[device.number] = device

    def _handle(self, event: tuple[float, int, str, int, int]) -> None:
        _, _, kind, number, version = event
        if kind == "join":
            for device in self._devices.values():
                self._advance(device)
            self._join()
            self._reschedule_all()
        elif kind == "leave":
            self._leave(self._devices[number])
        elif number in self._devices and self._devices[number].version == version:
            self._finish_what_ended(self._devices[number])

    def _leave(self, leaving: _Device) -> None:
        for device in self._devices.values():
            self._advance(device)
        del self._devices[leaving.number]
        for ends, _, request in leaving.answers:
            target = self._least_loaded()
            self._start_answer(target, request, ends - leaving.steps)
        for request in leaving.prompts:
            self._least_loaded().prompts.append(request)
        self._reschedule_all()

    def _arrive(self, arrival: Arrival) -> None:
        device = self._least_loaded()
        self._advance(device)
        device.prompts.append(_Request(arrival, self._model.prefill_seconds(arrival.input_tokens)))
        self._reschedule(device)

    def _least_loaded(self) -> _Device:
        staying = [d for d in self._devices.values() if not d.is_leaving]
        return min(staying, key=lambda d: d.load)

    def _finish_what_ended(self, device: _Device) -> None:
        self._advance(device)
        if device.is_prefilling and device.prompts[0].prefill_left <= 1e-9:
            request = device.prompts.popleft()
            request.first_token_at = self._now
            self._start_answer(device, request, request.arrival.output_tokens - 1)
        while device.answers and device.answers[0][0] <= device.steps + 1e-6:
            self._complete(heapq.heappop(device.answers)[2])
        self._reschedule(device)

    def _start_answer(self, device: _Device, request: _Request, steps: float) -> None:
        heapq.heappush(device.answers, (device.steps + steps, next(self._order), request))

    def _complete(self, request: _Request) -> None:
        self._done += 1
        ttft = request.first_token_at - request.arrival.at
        itl = (self._now - request.first_token_at) / max(1, request.arrival.output_tokens - 1)
        self._ttfts.append(ttft)
        self._met += ttft <= self._objectives.ttft_s and itl <= self._objectives.itl_s

    def _advance(self, device: _Device) -> None:
        self._produced += device.advance(self._now, self._serving)

    def _reschedule(self, device: _Device) -> None:
        device.version += 1
        at = device.next_event(self._serving)
        if at is not None:
            self._push(at, "device", device.number, device.version)

    def _reschedule_all(self) -> None:
        for device in self._devices.values():
            self._reschedule(device)

    def _push(self, at: float, kind: str, number: int, version: int) -> None:
        heapq.heappush(self._events, (max(at, self._now), next(self._order), kind, number, version))
