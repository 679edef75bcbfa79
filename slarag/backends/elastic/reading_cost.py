"""What a reader's step costs on an accelerator, by the roofline: windows are read whole, and nothing is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ..pool.service import Floats
from ..reader.config import EncoderConfig
from ..reader.flops import Flops
from .models.config import BYTES_OF
from .models.reader import EMBEDDINGS, ReaderLayout
from .pacing import SimulatedDevice
from .roofline import StepWork, experts_read


class ReadingWork:
    """The work of steps of the reader whose device is laid out as `layout`.

    Weights are read once a step, of the embeddings only the rows of its tokens, and of a device's experts those that
    any token chose. Tokens that are not active in a layer cost what `Flops` says, and go to no expert there.
    """

    def __init__(self, layout: ReaderLayout) -> None:
        config = EncoderConfig.from_dict(layout.head["config"])
        self._flops = Flops(config)
        self._layout = layout
        self._row_bytes = config.hidden_size * BYTES_OF[layout.dtype]
        self._whole_bytes = sum(tensor.num_bytes for tensor in layout.tensors if not tensor.name.startswith(EMBEDDINGS))

    def of_windows(self, windows: Sequence[tuple[int, float]], *, devices: int) -> StepWork:
        """Of a step. windows: tokens of each, and the share of the full model's FLOPs that reading it costs."""
        lengths = torch.tensor([float(tokens) for tokens, _ in windows])
        spent = torch.tensor([share for _, share in windows])
        flops = float((self._flops.full(lengths) * spent).sum())
        active = float((self._flops.activity(spent, lengths) * lengths).sum())
        return self._work(flops, float(lengths.sum()), active, devices)

    def of_tokens(self, tokens: Floats | float, *, window: float, devices: Floats | float) -> StepWork:
        """Of steps of so many tokens, which may be arrays, in windows of `window` tokens, all of them active."""
        full = float(self._flops.full(torch.tensor([window]))[0])
        return self._work(tokens * (full / window), tokens, tokens, devices)

    def _work(
        self, flops: Floats | float, tokens: Floats | float, active: Floats | float, devices: Floats | float
    ) -> StepWork:
        config = self._layout.config
        sparse = len(config.sparse_layers)
        experts = sparse * experts_read(config, active, devices) * self._layout.expert_bytes
        # Rows go there and come back; a device's peers send it as many as it sends them.
        moved = 4.0 * active * config.experts_per_token * sparse * (devices - 1) / devices * self._row_bytes
        return StepWork(flops, self._whole_bytes + experts + tokens * self._row_bytes, moved)


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadingCost:
    """The steps of a simulated device that reads, for a `ServiceModel`. window: tokens of a mean one."""

    device: SimulatedDevice
    work: ReadingWork
    window: float

    def seconds(self, prompt_tokens: Floats | float, answers: Floats | float, devices: Floats | float) -> Floats:
        """See `StepCost.seconds`; an answer is there with its last window and costs nothing more."""
        work = self.work.of_tokens(prompt_tokens + 0.0 * answers, window=self.window, devices=devices)
        return self.device.time_scale * work.seconds_on(self.device.profile)
