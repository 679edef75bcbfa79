"""One device of the simulated pool, step by step as the real one goes.

A step takes a token of each answer, then parts of prompts up to its limit of tokens, and it is planned while the one
before it runs: what comes meanwhile is in the step after it. Steps without a prompt are alike until an answer ends, so
they are gone through in one event, and a trace costs a few events per request, not one per token.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from .service import ServiceModel
from .trace import Arrival

_ANSWER_LOAD = 2
StepSeconds = Callable[[int, int, int], float]
"""Duration of a step with so many prompt tokens and answers on so many devices."""


@dataclass(eq=False, slots=True)
class SimRequest:
    """A request on its way. prompt_left: tokens of its prompt that no step has taken. queued_at: at its device."""

    arrival: Arrival
    prompt_left: int
    queued_at: float = 0.0
    first_token_at: float = -1.0


@dataclass(slots=True)
class _Run:
    """Steps that are alike. finishing: requests whose prompt ends in them.

    in_batch: sequences in each, which is what the next step is planned by.
    """

    started: float
    step_s: float
    count: int
    in_batch: int
    finishing: tuple[SimRequest, ...] = ()

    @property
    def ends(self) -> float:
        return self.started + self.count * self.step_s

    @property
    def last_started(self) -> float:
        return self.started + (self.count - 1) * self.step_s


@dataclass(slots=True)
class Ended:
    """What a device's steps brought: requests with their first token, and requests that are done."""

    started: list[SimRequest] = field(default_factory=list[SimRequest])
    done: list[SimRequest] = field(default_factory=list[SimRequest])


@dataclass(eq=False, slots=True)
class SimDevice:
    """One device. slot: its place in the simulator's array of loads. version: changes whenever its next event does.

    load: for choosing a device, tokens of prompts that are to do, one a prompt, and two an answer, as the pool counts.
    waiting: requests that have not begun. prompts: those that have, before their first token. answers: by the step at
    which they end. steps: those that are done. produced: tokens since somebody asked.
    """

    model: ServiceModel
    step_seconds: StepSeconds
    slot: int
    load: int = 0
    version: int = 0
    waiting: deque[SimRequest] = field(default_factory=deque[SimRequest])
    prompts: list[SimRequest] = field(default_factory=list[SimRequest])
    answers: list[tuple[int, int, SimRequest]] = field(default_factory=list[tuple[int, int, SimRequest]])
    steps: int = 0
    _produced: int = 0
    _order: int = 0
    _carried: list[tuple[int, SimRequest]] = field(default_factory=list[tuple[int, SimRequest]])
    _run: _Run | None = None

    @property
    def ends(self) -> float | None:
        """When its steps end, if nothing comes; None while it has nothing to do."""
        return None if self._run is None else self._run.ends

    @property
    def running(self) -> int:
        """Sequences that have begun."""
        return len(self.prompts) + len(self.answers) + len(self._carried)

    def add(self, request: SimRequest, now: float) -> None:
        """Queue a request."""
        request.queued_at = now
        self.waiting.append(request)
        self.load += request.prompt_left + 1

    def carry_in(self, request: SimRequest, tokens_left: int) -> None:
        """Take over an answer that has so many tokens to go, or a prompt that has begun, with 0."""
        self._carried.append((tokens_left, request))
        self.load += _ANSWER_LOAD if tokens_left else request.prompt_left + 1

    def carry_out(self, now: float) -> list[tuple[SimRequest, int]]:
        """Give away all that has begun: requests, and the tokens that their answers have to go, 0 for prompts."""
        done = self.steps + self._done_by(now)
        for request in self.prompts:
            # A step that would have brought its first token does not end here.
            request.prompt_left = max(1, request.prompt_left)
        answers = [(request, max(1, end - done)) for end, _, request in self.answers]
        return [*answers, *((r, left) for left, r in self._carried), *((request, 0) for request in self.prompts)]

    def take_waiting(self) -> list[SimRequest]:
        """Give away what has not begun."""
        taken = list(self.waiting)
        self.waiting.clear()
        self.load -= sum(request.prompt_left + 1 for request in taken)
        return taken

    def cut(self, now: float) -> None:
        """End the run of steps with the one that is under way, because something has changed."""
        if self._run is not None and self._run.count > 1:
            self._run.count = min(self._run.count, 1 + self._done_by(now))

    def produced_until(self, now: float) -> int:
        """Tokens since the last call."""
        run_so_far = self._done_by(now) * len(self.answers)
        produced, self._produced = self._produced + run_so_far, -run_so_far
        return produced

    @property
    def has_room(self) -> bool:
        """Whether one more sequence may begin."""
        return self.running < self.model.max_sequences

    def finish(self, now: float) -> Ended:
        """Take what the steps that end now bring; `begin` must follow."""
        run, ended = self._run, Ended()
        if run is None:
            return ended
        self.steps += run.count
        self._produced += run.count * len(self.answers) + len(run.finishing)
        while self.answers and self.answers[0][0] <= self.steps:
            ended.done.append(heapq.heappop(self.answers)[2])
        for request in run.finishing:
            request.first_token_at = now
            self.prompts.remove(request)
            left = request.arrival.output_tokens - 1
            if left:
                self._start_answer(request, left)
            (ended.started if left else ended.done).append(request)
        self.load -= _ANSWER_LOAD * len(ended.done)
        return ended

    def begin(self, now: float, devices: int) -> None:
        """Plan what comes next."""
        before, self._run = self._run, None
        self._take_carried()
        planned_at, in_batch = (now, self.running) if before is None else (before.last_started, before.in_batch)
        tokens, finishing = self._take_prompts(planned_at, in_batch)
        if not tokens and not self.answers and self.waiting:
            tokens, finishing = self._take_prompts(now, self.running)
        if not tokens and not self.answers:
            return
        step_s = self.step_seconds(tokens, len(self.answers), devices)
        is_single = tokens or (self.waiting and self.has_room)
        count = 1 if is_single else self.answers[0][0] - self.steps
        self._run = _Run(now, step_s, count, self.running, tuple(finishing))

    def _take_carried(self) -> None:
        for left, request in self._carried:
            if left:
                self._start_answer(request, left)
            else:
                self.prompts.append(request)
        self._carried.clear()

    def _start_answer(self, request: SimRequest, tokens_left: int) -> None:
        self._order += 1
        heapq.heappush(self.answers, (self.steps + tokens_left, self._order, request))

    def _take_prompts(self, planned_at: float, in_batch: int) -> tuple[int, list[SimRequest]]:
        """Tokens of prompts for a step that was planned then, beside so many sequences; and those that it ends."""
        room = left = max(0, self.model.max_batch_tokens - len(self.answers))
        finishing: list[SimRequest] = []
        for request in self.prompts:
            left -= self._take_part(request, left, finishing)
        places = self.model.max_sequences - max(in_batch, self.running)
        while left and places > 0 and self.waiting and self.waiting[0].queued_at <= planned_at:
            request = self.waiting.popleft()
            self.prompts.append(request)
            left -= self._take_part(request, left, finishing)
            places -= 1
        return room - left, finishing

    def _take_part(self, request: SimRequest, left: int, finishing: list[SimRequest]) -> int:
        part = min(left, request.prompt_left)
        if part:
            request.prompt_left -= part
            self.load -= part
            if not request.prompt_left:
                self.load += _ANSWER_LOAD - 1
                finishing.append(request)
        return part

    def _done_by(self, now: float) -> int:
        """Steps of the run that are over."""
        run = self._run
        return 0 if run is None else min(run.count - 1, max(0, int((now - run.started) / run.step_s + 1e-9)))
