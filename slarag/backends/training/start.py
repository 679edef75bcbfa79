"""What a training run starts from."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field

from ...sla.errors import ConfigurationError
from ..reader.config import EncoderConfig, Skip
from ..reader.expansion import Initialisation, added_positions, dynamic_config, expanded
from ..reader.labels import LabelKind
from ..reader.model import Reader
from ..reader.parent import load_parent_weights, parent_folder
from ..reader.store import SHIPPED_DENSE, load_reader


class ModelRecipe(BaseModel):
    """The model of a run: the parent's dense layers, or a dynamic form of them.

    The defaults are the parent, fine-tuned densely.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    start: str = Field(default="parent", description="`parent`, `reader` for the shipped dense one, or a folder")
    group: int = Field(default=0, ge=0, description="a layer is added after each group of this many; 0 adds none")
    initialisation: Initialisation = "identity"
    experts: int = Field(default=0, ge=0, description="routed experts a feed-forward block; 0 leaves it dense")
    top_k: int = Field(default=1, ge=1)
    shared: float = Field(default=0.5, ge=0, lt=1, description="part of a block's units that every token passes")
    skip: Skip = "none"
    labels: LabelKind = "loss"
    capacity: float = Field(default=0.7, gt=0, le=1, description="share labelled active in the end, for `similarity`")
    capacity_steps: int = Field(default=1000, ge=1, description="steps that the capacity takes from 1 to there")
    lowest_budget: float = Field(
        default=0.35,
        gt=0,
        le=1,
        description="budgets are drawn from here to 1; DLO as published, `feed_forward` with `similarity`, draws none",
    )
    distilled: float = Field(default=0.0, ge=0, description="weight of agreeing, within a budget, with the full model")
    elder: str | None = Field(default=None, description="an earlier reader whose answers to questions are kept")
    elder_weight: float = Field(default=1.0, gt=0, description="weight of agreeing with the elder on questions")
    full_share: float = Field(default=0.5, ge=0, le=1, description="share of the steps at full budget")
    balance_weight: float = Field(default=0.01, ge=0)
    fast_rate: float = Field(default=10.0, gt=0, description="learning rate of routers and gates over the others'")


def initial_reader(model: ModelRecipe, seed: int) -> Reader:
    """The untrained model of a run; the same for the same seed.

    Raises `ConfigurationError` when it starts from a dynamic reader whose form is not the recipe's.
    """
    torch.manual_seed(seed)
    start = _started(model)
    if start.encoder.config.is_dynamic:
        _check_form(model, start.encoder.config)
        return start
    config = dynamic_config(
        start.encoder.config,
        group=model.group,
        experts=model.experts,
        top_k=model.top_k,
        shared=model.shared,
        skip=model.skip,
    )
    if not config.is_dynamic:
        return start
    reader = Reader(config)
    reader.load_state_dict(expanded(start.state_dict(), config, model.initialisation), strict=False)
    return reader


def elder_reader(model: ModelRecipe) -> Reader | None:
    """The earlier reader that a run has to agree with on questions, if there is one."""
    return None if model.elder is None else load_reader(reader_folder(model.elder))[0]


def reader_folder(name: str) -> Path:
    """The folder that a recipe names: `reader` is the dense reader that ships."""
    return SHIPPED_DENSE if name == "reader" else Path(name)


def _check_form(model: ModelRecipe, config: EncoderConfig) -> None:
    """What a recipe says of a dynamic start has to be so; it may leave layers and experts unsaid."""
    layers = added_positions(config.num_layers - len(config.added_layers), model.group)
    conflicts = {
        "group": bool(model.group) and layers != config.added_layers,
        "experts": bool(model.experts) and model.experts != config.experts,
        "skip": model.skip != config.skip,
    }
    for field in (name for name, conflict in conflicts.items() if conflict):
        has = {"group": f"added layers {config.added_layers}", "experts": config.experts, "skip": config.skip}[field]
        raise ConfigurationError(
            f"the recipe's {field} is {getattr(model, field)!r}, but {model.start!r} is dynamic already: {has}",
            remedy="start from a dense reader, or give the form that the start has",
        )


def _started(model: ModelRecipe) -> Reader:
    if model.start != "parent":
        return load_reader(reader_folder(model.start))[0].train()
    reader = Reader(EncoderConfig.from_parent(parent_folder()))
    reader.encoder.load_state_dict(load_parent_weights())
    return reader
