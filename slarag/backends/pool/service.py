"""How fast a device serves: measured figures, and what follows from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...sla.errors import DataError

_UNKNOWNS = 3
_LEAST_S = 1e-9


@dataclass(frozen=True, slots=True)
class StepSample:
    """A measured step: prompt tokens in it, answers that got a token, and its duration."""

    prompt_tokens: int
    answers: int
    seconds: float


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceModel:
    """A device's speed and a pool's switching times, as measured or as a data sheet gives them.

    prefill_tokens_per_s: of a prompt alone. chunk_tokens: of a prompt that go into one step beside the running answers.
    A decode step of b answers on n devices takes step_base_s + b * step_per_answer_s + (n - 1) * step_per_peer_s. A
    part of a prompt in it adds its own time, less `overlap` (a share) of what is less, that or the answers' time, since
    weights are read once for both.
    max_answers: in a device's batch. scale_up_s and scale_down_s: from the command to serving at the new size; boot_s
    more for devices without a standby; cold_start_s: from no device to the first that serves.
    """

    prefill_tokens_per_s: float = 8000.0
    step_base_s: float = 0.02
    step_per_answer_s: float = 0.0004
    step_per_peer_s: float = 0.0
    overlap: float = 0.0
    chunk_tokens: int = 512
    max_answers: int = 64
    scale_up_s: float = 3.0
    scale_down_s: float = 2.0
    boot_s: float = 10.0
    cold_start_s: float = 30.0

    def step_seconds(self, answers: int, devices: int) -> float:
        """A decode step's duration."""
        return self.step_base_s + answers * self.step_per_answer_s + (devices - 1) * self.step_per_peer_s

    def prefill_seconds(self, tokens: int) -> float:
        """A prompt's duration on an idle device."""
        return tokens / self.prefill_tokens_per_s

    def added_by_chunk(self, answers: int) -> float:
        """Duration that a part of a prompt adds to a step with `answers`."""
        return self.chunk_seconds - self.overlap * min(self.chunk_seconds, answers * self.step_per_answer_s)

    @property
    def chunk_seconds(self) -> float:
        """Duration of a part of a prompt alone."""
        return self.prefill_seconds(self.chunk_tokens)

    @classmethod
    def fit(cls, samples: Sequence[StepSample], **rest: Any) -> ServiceModel:
        """The model whose steps are nearest to measured ones, by relative least squares; `rest` are its other fields.

        Raises `DataError` when the samples do not tell a prompt's cost from an answer's.
        """
        pure = [sample for sample in samples if not (sample.prompt_tokens and sample.answers)]
        rows = np.array([[1.0, sample.prompt_tokens, sample.answers] for sample in pure])
        seconds = np.array([sample.seconds for sample in pure])
        if len(rows) < _UNKNOWNS or np.linalg.matrix_rank(rows) < _UNKNOWNS:
            remedy = "measure steps with prompts of several lengths, and with several numbers of answers"
            raise DataError("the measured steps do not fix a service model", remedy=remedy)
        base, per_token, per_answer = _positive_least_squares(rows / seconds[:, None], np.ones(len(rows)))
        per_token, per_answer = max(per_token, _LEAST_S), max(per_answer, _LEAST_S)
        return cls(
            prefill_tokens_per_s=1 / per_token,
            step_base_s=base,
            step_per_answer_s=per_answer,
            overlap=_overlap(samples, base, per_token, per_answer),
            **rest,
        )


def _overlap(samples: Sequence[StepSample], base: float, per_token: float, per_answer: float) -> float:
    """By which share of their smaller part steps with a prompt and answers are quicker than the sum; least squares."""
    saved = smaller = 0.0
    for sample in samples:
        prompt, answers = sample.prompt_tokens * per_token, sample.answers * per_answer
        less = min(prompt, answers)
        saved += less * (base + prompt + answers - sample.seconds)
        smaller += less * less
    return min(1.0, max(0.0, saved / smaller)) if smaller else 0.0


def _positive_least_squares(rows: NDArray[np.float64], values: NDArray[np.float64]) -> list[float]:
    """Least squares without negative solutions: the most negative one is set to zero until there is none."""
    kept = list(range(rows.shape[1]))
    while True:
        found = np.linalg.lstsq(rows[:, kept], values, rcond=None)[0]
        if found.min() >= 0:
            solution = np.zeros(rows.shape[1])
            solution[kept] = found
            return [float(value) for value in solution]
        kept.pop(int(found.argmin()))


@dataclass(frozen=True, kw_only=True, slots=True)
class Objectives:
    """What a request must see: seconds to its first token, and mean seconds between tokens; share: of requests."""

    ttft_s: float = 1.0
    itl_s: float = 0.1
    share: float = 0.99
