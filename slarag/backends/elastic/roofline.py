"""What a step costs on an accelerator, by a roofline.

It takes the longer of its arithmetic at the device's peak and its memory traffic at the device's bandwidth, then its
traffic to other devices, then a fixed overhead (Williams et al., Roofline, CACM 2009). Simulated devices take so long
for their steps, and the pool's simulator reckons with the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from ..pool.service import Floats, StepSample
from .models.config import BYTES_OF, DType, Qwen3MoeConfig

if TYPE_CHECKING:
    from .pacing import DeviceProfile, SimulatedDevice


@dataclass(frozen=True, slots=True)
class StepWork:
    """What a step asks of its device; arrays for many steps. link_bytes: in both directions together."""

    flops: Floats | float
    memory_bytes: Floats | float
    link_bytes: Floats | float

    def seconds_on(self, profile: DeviceProfile) -> Floats:
        """By the roofline."""
        busy = np.maximum(self.flops / profile.flops_per_s, self.memory_bytes / profile.memory_bytes_per_s)
        return busy + self.link_bytes / profile.link_bytes_per_s + profile.step_overhead_s


def step_work(config: Qwen3MoeConfig, dtype: DType, segments: Iterable[tuple[int, int]], *, devices: int) -> StepWork:
    """The work of a step. segments: tokens before each sequence's new ones, and how many are new.

    Experts are spread evenly over `devices`, and the others' steps are as large as this one: of its experts a device
    reads those that any token chose, and computes as much for others as they do for it.
    """
    contexts = [(before, new) for before, new in segments]
    return work_of(
        config,
        dtype,
        tokens=sum(new for _, new in contexts),
        sequences=len(contexts),
        pairs=sum(new * (before + (new + 1) / 2) for before, new in contexts),
        context_tokens=sum(before + new for before, new in contexts),
        devices=devices,
    )


def work_of(
    config: Qwen3MoeConfig,
    dtype: DType,
    *,
    tokens: Floats | float,
    sequences: Floats | float,
    pairs: Floats | float,
    context_tokens: Floats | float,
    devices: Floats | float,
) -> StepWork:
    """The work of a step, from its sums, which may be arrays.

    tokens: new ones. pairs: of a new token and one that it attends to. context_tokens: whose keys and values are read.
    """
    size, sparse = BYTES_OF[dtype], len(config.sparse_layers)
    shared, expert = _shared_elements(config), config.expert_elements
    kv_width = config.num_kv_heads * config.head_dim * config.num_layers
    flops = 2.0 * tokens * (shared + sparse * config.experts_per_token * expert)
    flops = flops + 4.0 * pairs * config.num_heads * config.head_dim * config.num_layers
    flops = flops + 2.0 * sequences * config.vocab_size * config.hidden_size
    read = shared + config.vocab_size * config.hidden_size + sparse * experts_read(config, tokens, devices) * expert
    read = read + 2.0 * kv_width * context_tokens
    # Rows go there and come back; a device's peers send it as many as it sends them.
    moved = 4.0 * tokens * config.experts_per_token * config.hidden_size * sparse * (devices - 1) / devices
    return StepWork(flops, read * size, moved * size)


def _shared_elements(config: Qwen3MoeConfig) -> int:
    """Elements that every token passes, but experts and the vocabulary."""
    attention = config.hidden_size * config.head_dim * 2 * (config.num_heads + config.num_kv_heads)
    router = config.hidden_size * config.num_experts
    dense = 3 * config.hidden_size * config.intermediate_size
    sparse = len(config.sparse_layers)
    return config.num_layers * attention + sparse * router + (config.num_layers - sparse) * dense


def experts_read(config: Qwen3MoeConfig, tokens: Floats | float, devices: Floats | float) -> Floats | float:
    """Of a device's experts of one layer, those that some token chose, if choices are even. tokens: of each device."""
    if not config.num_experts:
        return 0.0
    missed = (1 - config.experts_per_token / config.num_experts) ** (tokens * devices)
    return config.num_experts / devices * (1 - missed)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProfiledCost:
    """The steps of a simulated device, for a `ServiceModel`: what its pacer makes of them for requests like these.

    config and dtype: of the served model. prompt_tokens and context_tokens: means of a prompt, and of what an answer's
    token attends to. extra_s: what a step took beyond that where it was measured.
    """

    device: SimulatedDevice
    config: Qwen3MoeConfig
    dtype: DType
    prompt_tokens: float
    context_tokens: float
    extra_s: float = 0.0

    def seconds(self, prompt_tokens: Floats | float, answers: Floats | float, devices: Floats | float) -> Floats:
        """See `StepCost.seconds`."""
        config, dtype = self.device.charged(self.config, self.dtype)
        work = work_of(
            config,
            dtype,
            tokens=prompt_tokens + answers,
            sequences=prompt_tokens / self.prompt_tokens + answers,
            pairs=prompt_tokens * self.prompt_tokens / 2 + answers * self.context_tokens,
            context_tokens=prompt_tokens + answers * self.context_tokens,
            devices=devices,
        )
        return self.extra_s + self.device.time_scale * work.seconds_on(self.device.profile)

    def measured(self, samples: Sequence[StepSample]) -> ProfiledCost:
        """With the time that measured steps took beyond the modelled; the median, and at least 0."""
        beyond = [s.seconds - float(self.seconds(s.prompt_tokens, s.answers, s.devices)) for s in samples]
        return replace(self, extra_s=max(0.0, self.extra_s + median(beyond)))
