"""What share of requests would miss their objectives, worked out from a queueing model.

A device does prompts one after the other beside its answers, and a pool of them that gives each prompt to the one with
the least to do is close to one queue with several servers. The wait in it follows Erlang's C formula, scaled by the
variation of the prompts (Allen and Cunneen's approximation; Bolch et al., Queueing Networks and Markov Chains, 2nd
edition, section 6.3).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from statistics import NormalDist

import numpy as np

from .service import Floats, Objectives, ServiceModel

_ROUNDS = 10
_STEPS_BEFORE = 1.5
"""The rest of the step that runs, and the one that is planned already."""
_POINTS = 24


@dataclass(frozen=True, slots=True)
class Lengths:
    """Of requests, in tokens: means, and the squared coefficient of variation of prompts."""

    input_tokens: float
    output_tokens: float
    input_variation: float = 1.0


@dataclass(frozen=True, slots=True)
class Present:
    """What is there already. running: answers, over all devices. backlog_s: work of the prompts that wait, likewise.

    ahead_s: how far ahead is looked; by then a part of the answers has ended.
    """

    running: float
    backlog_s: float
    ahead_s: float


@dataclass(frozen=True, slots=True)
class Steady:
    """Where a device settles, or is on its way to; every field has the shape of rates and sizes broadcast.

    answers: in its batch. busy: tokens of prompts over what its steps have room for, 1 or more where it never settles,
    be it as answers ask for more places than a batch has. prompt_s: of a mean prompt beside the answers. joining_s:
    until the first step that a prompt can be in, and for a last step that it does not fill. itl_s: mean time between
    tokens.
    """

    answers: Floats
    busy: Floats
    prompt_s: Floats
    joining_s: Floats
    itl_s: Floats


def steady_state(
    model: ServiceModel, rates: Floats, lengths: Lengths, sizes: Floats, present: Present | None = None
) -> Steady:
    """Solve for the number of answers at which as many begin as end. rates: requests per second. sizes: 1 or more.

    With `present`, what is there now counts as much as will still be there.
    """
    per_device = rates / sizes
    state = Steady(*(np.zeros_like(per_device) for _ in range(5)))
    for _ in range(_ROUNDS):
        state = _settled(model, per_device, lengths, sizes, state.answers, present)
    return state


def _settled(
    model: ServiceModel, per_device: Floats, lengths: Lengths, sizes: Floats, answers: Floats, present: Present | None
) -> Steady:
    """What follows from a guess of the answers."""
    tokens, room = lengths.input_tokens, model.prompt_room(answers)
    step_s, full_s = model.step_seconds(0, answers, sizes), model.step_seconds(room, answers, sizes)
    busy = per_device * tokens * full_s / room
    prompt_s = tokens / room * full_s
    itl_s = _token_seconds(model, per_device, lengths, sizes, answers, np.minimum(1.0, busy))
    answer_s = lengths.output_tokens * itl_s
    wanted = per_device * answer_s
    if present is not None:
        kept = np.exp(-present.ahead_s / answer_s)
        wanted = kept * present.running / sizes + (1 - kept) * wanted
    full = wanted / model.max_sequences
    return Steady(
        answers=np.minimum(1.0, full) * model.max_sequences,
        busy=np.where(full < 1, busy, np.maximum(busy, full)),
        prompt_s=prompt_s,
        joining_s=_STEPS_BEFORE * itl_s * np.minimum(1.0, answers) + 0.5 * step_s,
        itl_s=itl_s,
    )


def _token_seconds(
    model: ServiceModel, per_device: Floats, lengths: Lengths, sizes: Floats, answers: Floats, busy: Floats
) -> Floats:
    """Mean time between an answer's tokens beside prompts that take the share `busy` of the time.

    An answer that is long beside a prompt sees as many prompts as come in its time; a short one sees one or none.
    """
    # The last step of a prompt has room left, half of it on average.
    part = lengths.input_tokens / (lengths.input_tokens / model.prompt_room(answers) + 0.5)
    step_s, slowed_s = model.step_seconds(0, answers, sizes), model.step_seconds(part, answers, sizes)
    added_s, parts_per_s = slowed_s - step_s, per_device * lengths.input_tokens / part
    left = np.maximum(1 - parts_per_s * added_s, 1e-9)
    long_s, short_s = np.minimum(step_s / left, slowed_s), step_s + busy * added_s
    answer_s, prompt_s = lengths.output_tokens * step_s, lengths.input_tokens / part * slowed_s
    return (answer_s * long_s + prompt_s * short_s) / (answer_s + prompt_s)


def throughput(model: ServiceModel, lengths: Lengths, sizes: Floats) -> Floats:
    """Requests per second that so many devices can do at most, whatever the objectives."""
    room = model.prompt_room(model.max_sequences)
    step_s = model.step_seconds(room, model.max_sequences, sizes)
    return sizes * np.minimum(room / lengths.input_tokens, model.max_sequences / lengths.output_tokens) / step_s


def missed_share(
    model: ServiceModel,
    objectives: Objectives,
    rates: Floats,
    lengths: Lengths,
    sizes: Floats,
    present: Present | None = None,
) -> Floats:
    """Expected share of requests that miss an objective, in the shape of `rates` and `sizes` broadcast."""
    state = steady_state(model, rates, lengths, sizes, present)
    backlog_s = 0.0 if present is None else present.backlog_s
    late = _late_share(objectives.ttft_s - backlog_s / sizes, lengths, state, np.broadcast_to(sizes, state.busy.shape))
    spread = _one_more(model, state.answers, sizes) * np.sqrt(np.maximum(1.0, state.answers))
    slow = _above((objectives.itl_s - state.itl_s) / np.maximum(spread, 1e-9))
    return 1 - (1 - late) * (1 - slow)


def _one_more(model: ServiceModel, answers: Floats, sizes: Floats) -> Floats:
    """What one more answer adds to a step."""
    return model.step_seconds(0, answers + 1, sizes) - model.step_seconds(0, answers, sizes)


def _late_share(ttft_s: Floats, lengths: Lengths, state: Steady, sizes: Floats) -> Floats:
    busy = np.minimum(state.busy, 1 - 1e-9)
    waits = erlang_c(sizes, sizes * busy)
    pace = 2 * sizes * (1 - busy) / ((1 + lengths.input_variation) * state.prompt_s)
    left = ttft_s - state.joining_s - _prompt_factors(round(lengths.input_variation, 1))[:, None, None] * state.prompt_s
    late = np.where(left <= 0, 1.0, waits * np.exp(-pace * np.maximum(left, 0.0))).mean(axis=0)
    return np.where(state.busy >= 1, 1.0, late)


def erlang_c(servers: Floats, offered: Floats) -> Floats:
    """The probability to wait with `offered` mean busy servers, fewer than `servers`."""
    blocked = np.ones_like(offered)
    for count in range(1, int(servers.max()) + 1):
        blocked = np.where(count <= servers, offered * blocked / (count + offered * blocked), blocked)
    return blocked / (1 - offered / servers * (1 - blocked))


def _above(deviations: Floats) -> Floats:
    """The share of a normal distribution above so many standard deviations (a logistic approximation, error < 0.01)."""
    return 1 / (1 + np.exp(np.clip(1.702 * deviations, -50, 50)))


@cache
def _prompt_factors(variation: float) -> Floats:
    """Prompt lengths over their mean, at even quantiles of a log-normal distribution."""
    sigma = math.sqrt(math.log(1 + variation))
    points = ((index + 0.5) / _POINTS for index in range(_POINTS))
    return np.exp([sigma * NormalDist().inv_cdf(point) - sigma * sigma / 2 for point in points])
