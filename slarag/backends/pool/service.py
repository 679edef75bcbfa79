"""How fast a device serves: measured figures, and what follows from them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class ServiceModel:
    """A device's speed and a pool's switching times, as measured or as a data sheet gives them.

    prefill_tokens_per_s: of a prompt alone. chunk_tokens: of a prompt that go into one step beside the running answers.
    A decode step of b answers on n devices takes step_base_s + b * step_per_answer_s + (n - 1) * step_per_peer_s.
    max_answers: in a device's batch. scale_up_s and scale_down_s: from the command to serving at the new size; boot_s
    more for devices without a standby; cold_start_s: from no device to the first that serves.
    """

    prefill_tokens_per_s: float = 8000.0
    step_base_s: float = 0.02
    step_per_answer_s: float = 0.0004
    step_per_peer_s: float = 0.0
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

    @property
    def chunk_seconds(self) -> float:
        """Duration that a part of a prompt adds to a step."""
        return self.prefill_seconds(self.chunk_tokens)

    def largest_batch(self, itl_s: float, devices: int) -> int:
        """Most answers whose step, with a part of a prompt in one of four steps, stays within `itl_s`; at least 1."""
        left = itl_s - self.chunk_seconds / 4 - self.step_seconds(0, devices)
        return max(1, min(self.max_answers, int(left / self.step_per_answer_s)))

    def device_seconds(self, input_tokens: float, output_tokens: float, answers: int, devices: int) -> float:
        """Device time of a request in a batch of `answers`."""
        decode = output_tokens * self.step_seconds(answers, devices) / answers
        return input_tokens / self.prefill_tokens_per_s + decode


@dataclass(frozen=True, kw_only=True, slots=True)
class Objectives:
    """What a request must see: seconds to its first token, and mean seconds between tokens; share: of requests."""

    ttft_s: float = 1.0
    itl_s: float = 0.1
    share: float = 0.99
