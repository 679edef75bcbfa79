"""One device of the simulated pool.

It advances all its answers at the same pace, which depends on how many they are, on whether a part of a prompt is in
the step, and on the number of devices. So an answer ends when the device's count of steps reaches a number that is
known at its start, and a trace costs a few events per request, not one per token.
"""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field

from .service import ServiceModel
from .trace import Arrival

_PROMPT_DONE_S = 1e-9
_STEP_DONE = 1e-6
_ANSWER_TOKENS = 2


@dataclass(eq=False, slots=True)
class SimRequest:
    """A request on its way. prefill_left: seconds of its prompt that are still to do on a device without answers."""

    arrival: Arrival
    prefill_left: float
    first_token_at: float = -1.0


@dataclass(eq=False, slots=True)
class SimDevice:
    """One device. at: the time up to which it is computed. steps: decode steps done, a fraction of one included.

    version: changes whenever its next event does. slot: its place in the simulator's array of loads.
    """

    model: ServiceModel
    at: float
    slot: int
    prompts: deque[SimRequest] = field(default_factory=deque[SimRequest])
    answers: list[tuple[float, int, SimRequest]] = field(default_factory=list[tuple[float, int, SimRequest]])
    steps: float = 0.0
    version: int = 0
    produced: float = 0.0
    _prefill_pace: float = 0.0
    _decode_pace: float = 0.0

    @property
    def load(self) -> float:
        """For choosing a device: tokens of prompts that are to do, and two for each answer, as the pool counts."""
        prompts = sum(request.prefill_left for request in self.prompts) * self.model.prefill_tokens_per_s
        return prompts + len(self.prompts) + _ANSWER_TOKENS * len(self.answers)

    def advance(self, now: float) -> None:
        """Go on to `now`."""
        elapsed, self.at = now - self.at, now
        if self._prefill_pace:
            self.prompts[0].prefill_left -= elapsed * self._prefill_pace
        steps = elapsed * self._decode_pace
        self.steps += steps
        self.produced += steps * len(self.answers)

    def set_paces(self, devices: int) -> None:
        """After a change: how many seconds of prefill and how many decode steps it does in a second."""
        answers, model = len(self.answers), self.model
        step = model.step_seconds(answers, devices) if answers else 0.0
        if self.prompts and answers < model.max_answers:
            cycle = model.added_by_chunk(answers) + step
            self._prefill_pace, self._decode_pace = model.chunk_seconds / cycle, 1 / cycle if step else 0.0
        else:
            self._prefill_pace, self._decode_pace = 0.0, 1 / step if step else 0.0

    def next_event(self) -> float | None:
        """When something ends, if nothing else happens."""
        first: float | None = None
        if self._prefill_pace:
            first = self.at + max(0.0, self.prompts[0].prefill_left) / self._prefill_pace
        if self.answers:
            ends = self.at + max(0.0, self.answers[0][0] - self.steps) / self._decode_pace
            first = ends if first is None or ends < first else first
        return first

    def take_prompt(self) -> SimRequest | None:
        """The prompt that is done, if one is."""
        if self._prefill_pace and self.prompts[0].prefill_left <= _PROMPT_DONE_S:
            return self.prompts.popleft()
        return None

    def start_answer(self, request: SimRequest, steps: float, order: int) -> None:
        """Let an answer run for `steps` more steps."""
        heapq.heappush(self.answers, (self.steps + steps, order, request))

    def take_answer(self) -> SimRequest | None:
        """An answer that is done, if one is."""
        if self.answers and self.answers[0][0] <= self.steps + _STEP_DONE:
            return heapq.heappop(self.answers)[2]
        return None
