"""The average of several readers' weights, which can read better than each (model soups, arXiv 2203.05482).

They must come of one another's training: weights that were trained apart do not average.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field

from ...sla.errors import ConfigurationError
from ..reader.dynamic_encoder import DynamicEncoder
from ..reader.model import Reader
from ..reader.store import load_reader
from .encoding import EncodedExamples, TrainingBatch, collate, plan_batches

SCHEDULE_BATCHES = 12


class Ingredient(BaseModel):
    """Another reader of the same form, and its share of the average."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reader: str = Field(description="its folder")
    share: float = Field(gt=0, lt=1)


@torch.no_grad()
def average(model: Reader, ingredients: Sequence[Ingredient]) -> None:
    """Make the weights of `model` the average of its own, which take the share that is left, and the ingredients'.

    Raises `ConfigurationError` when the shares leave nothing, or a reader has another form.
    """
    own = 1 - sum(ingredient.share for ingredient in ingredients)
    if own <= 0:
        raise ConfigurationError("the averaged readers leave no share to the trained one", remedy="lower their shares")
    weights = {name: own * value for name, value in model.state_dict().items()}
    for ingredient in ingredients:
        other, _ = load_reader(Path(ingredient.reader))
        if other.encoder.config != model.encoder.config:
            raise ConfigurationError(
                f"reader {ingredient.reader!r} has another form than the trained one",
                remedy="average readers that go on from one another",
            )
        for name, value in other.state_dict().items():
            weights[name] += ingredient.share * value
    model.load_state_dict(weights)


def sample_batches(examples: EncodedExamples, batch_tokens: int, seed: int) -> list[TrainingBatch]:
    """A few random batches, on which a schedule is fitted."""
    plan = islice(plan_batches(examples.lengths, batch_tokens, 1, seed), SCHEDULE_BATCHES)
    return [collate(examples, indices) for (indices,) in plan]


@torch.no_grad()
def refit_schedule(model: Reader, examples: EncodedExamples, batch_tokens: int, seed: int) -> None:
    """Spread budgets over the layers as the routers of `model` ask for it on a few batches of `examples`."""
    encoder = model.encoder
    if not isinstance(encoder, DynamicEncoder) or encoder.config.skip == "none":
        return
    nulls: list[torch.Tensor] = []
    for batch in sample_batches(examples, batch_tokens, seed):
        traces = model(batch.ids, batch.segments, batch.lengths).traces
        nulls.append(torch.stack([trace.null for trace in traces if trace.null is not None], dim=1).float())
    encoder.schedule.fit(torch.cat(nulls))
