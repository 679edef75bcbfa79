"""How fast a device serves: measured figures, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ...sla.errors import DataError

_UNKNOWNS = 4
_LEAST_S = 1e-9


Floats: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StepSample:
    """A measured step: prompt tokens in it, answers that got a token, its duration, and the pool's devices."""

    prompt_tokens: int
    answers: int
    seconds: float
    devices: int = 1


class StepCost(Protocol):
    """Says what a step costs where more is known of a device than what a few measured steps tell."""

    def seconds(self, prompt_tokens: Floats | float, answers: Floats | float, devices: Floats | float) -> Floats:
        """Duration of a step, by the tokens of prompts and the answers in it, in the shape of all three broadcast."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceModel:
    """A device's speed and a pool's switching times, as measured or as a data sheet gives them.

    A step of p prompt tokens and b answers on n devices takes
    step_base_s + p / prefill_tokens_per_s + b * step_per_answer_s + (n - 1) * step_per_peer_s,
    less `overlap` (a share) of what is less, the prompts' time or the answers', since weights are read once for both.
    cost: says it in place of these figures, where it is given.
    max_batch_tokens: of a step; each answer takes one, and parts of prompts the rest. max_sequences: of a step.
    scale_up_s and scale_down_s: from the command to serving at the new size; boot_s more for devices without a
    standby; cold_start_s: from no device to the first that serves.
    """

    prefill_tokens_per_s: float = 8000.0
    step_base_s: float = 0.02
    step_per_answer_s: float = 0.0004
    step_per_peer_s: float = 0.0
    overlap: float = 0.0
    cost: StepCost | None = None
    max_batch_tokens: int = 512
    max_sequences: int = 64
    scale_up_s: float = 3.0
    scale_down_s: float = 2.0
    boot_s: float = 10.0
    cold_start_s: float = 30.0

    def step_seconds(self, prompt_tokens: Floats | float, answers: Floats | float, devices: Floats | float) -> Floats:
        """A step's duration; see `StepCost.seconds`."""
        if self.cost is not None:
            return self.cost.seconds(prompt_tokens, answers, devices)
        prompts, decode = prompt_tokens / self.prefill_tokens_per_s, answers * self.step_per_answer_s
        rest = self.step_base_s + (devices - 1) * self.step_per_peer_s
        return rest + prompts + decode - self.overlap * np.minimum(prompts, decode)

    def prompt_room(self, answers: Floats | float) -> Floats:
        """Tokens of prompts that a step with so many answers has room for, at least one."""
        return np.maximum(1.0, self.max_batch_tokens - answers)

    @classmethod
    def fit(cls, samples: Sequence[StepSample], **rest: Any) -> ServiceModel:
        """The model whose steps are nearest to measured ones, by relative least squares; `rest` are its other fields.

        What a further device costs is fitted where samples are of several sizes. Raises `DataError` when the samples do
        not tell a prompt's cost from an answer's.
        """
        pure = [sample for sample in samples if not (sample.prompt_tokens and sample.answers)]
        rows = np.array([[1.0, s.prompt_tokens, s.answers, s.devices - 1] for s in pure]).reshape(-1, _UNKNOWNS)
        seconds = np.array([sample.seconds for sample in pure])
        told = [0, 1, 2, *([3] if len({sample.devices for sample in pure}) > 1 else [])]
        if len(rows) < len(told) or np.linalg.matrix_rank(rows[:, told]) < len(told):
            remedy = "measure steps with prompts of several lengths, and with several numbers of answers"
            raise DataError("the measured steps do not fix a service model", remedy=remedy)
        base, per_token, per_answer, per_peer = _positive_least_squares(rows / seconds[:, None], told)
        model = cls(
            prefill_tokens_per_s=1 / max(per_token, _LEAST_S),
            step_base_s=base,
            step_per_answer_s=max(per_answer, _LEAST_S),
            step_per_peer_s=per_peer,
            **rest,
        )
        return replace(model, overlap=_overlap(samples, model))


def _overlap(samples: Sequence[StepSample], model: ServiceModel) -> float:
    """By which share of their smaller part steps with a prompt and answers are quicker than the sum; least squares."""
    saved = smaller = 0.0
    for sample in samples:
        less = min(sample.prompt_tokens / model.prefill_tokens_per_s, sample.answers * model.step_per_answer_s)
        whole = model.step_seconds(sample.prompt_tokens, sample.answers, sample.devices)
        saved += less * (float(whole) - sample.seconds)
        smaller += less * less
    return min(1.0, max(0.0, saved / smaller)) if smaller else 0.0


def _positive_least_squares(rows: Floats, columns: Sequence[int]) -> list[float]:
    """Rows times the solution are nearest to 1, none of it negative: the most negative is set to 0 until none is.

    columns: of `rows` that are solved for; the others' solution is 0.
    """
    kept = list(columns)
    while True:
        found = np.linalg.lstsq(rows[:, kept], np.ones(len(rows)), rcond=None)[0]
        if found.min() >= 0:
            solution = np.zeros(rows.shape[1])
            solution[kept] = found
            return [float(value) for value in solution]
        kept.pop(int(found.argmin()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Objectives:
    """What a request must see: seconds to its first token, and mean seconds between tokens; share: of requests.

    deadline_share: of those that come with a deadline, how many must be whole by then; None for no such objective.
    """

    ttft_s: float = 1.0
    itl_s: float = 0.1
    share: float = 0.99
    deadline_share: float | None = None
