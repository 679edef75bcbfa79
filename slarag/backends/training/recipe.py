"""A training recipe: which files, how many examples of each, and the optimiser's settings."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...sla.errors import ConfigurationError
from ..reader.storage import Storage
from .conclusions import conclusion_examples, opposite_claims
from .soup import Ingredient
from .sources import (
    ROW_KINDS,
    Example,
    Row,
    answer_as_claim,
    relabelled,
    rival_evidence,
    same_article_negatives,
    sampled,
)
from .start import ModelRecipe
from .written import source_files, source_rows

_AFTERWARDS = {
    *("averaged", "storage", "checkpoint_seconds", "rank_exponent", "development", "unseen_claims"),
    *("baselines", "notes", "limits"),
}
"""Fields of a recipe that the training itself does not depend on."""


class Source(BaseModel):
    """One file of the recipe and what is made of it; a folder stands for each of its files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(description="under the data folder, or beside the recipes where it begins with `./`")
    kind: Literal["reading", "claims"]
    limit: int | None = Field(default=None, ge=1, description="examples drawn at random; all if absent")
    negatives: int = Field(default=0, ge=0, description="pairs of likeness without an answer, or proof, made of it")
    labels: dict[str, str] = Field(default_factory=dict, description="what the file's labels mean, where unclear")
    answers_as_claims: int = Field(default=0, ge=0, description="verifier examples made of it")
    conclusions: int = Field(default=0, ge=0, description="claims made of its long answers, a third of each label")
    opposites: int = Field(default=0, ge=0, description="refuted claims made of its supported ones")
    licence: str = Field(default="not stated", description="for the model card")


class Recipe(BaseModel):
    """What a run trains on and how. Units: tokens, minutes, fractions of 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: list[Source]
    model: ModelRecipe = Field(default_factory=ModelRecipe)
    max_tokens: int = Field(
        default=320, ge=32, le=512, description="longest text pair, tokens; longer ones are cut to a window"
    )
    batch_tokens: int = Field(default=4000, ge=64, description="padded tokens of one batch of one process")
    learning_rate: float = Field(default=2e-4, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: float = Field(default=0.06, ge=0, lt=1, description="share of the run")
    epochs: float = Field(default=1.0, gt=0)
    minutes: float | None = Field(default=None, gt=0, description="the schedule ends here even if data is left")
    averaged: list[Ingredient] = Field(
        default_factory=list, description="readers that the trained one is averaged with"
    )
    storage: Storage = "bfloat16"
    processes: int = Field(default=2, ge=1, description="data-parallel processes of one thread each")
    checkpoint_seconds: float = Field(
        default=240, ge=0, description="between checkpoints that a killed run resumes from"
    )
    seed: int = 0
    held_out_titles: list[str] = Field(default_factory=list, description="articles never trained on")
    rank_exponent: float = Field(default=0.0, ge=0, description="prior of a passage at rank r: (r + 1) ** -this")
    development: str | None = Field(default=None, description="question file that thresholds are fitted and scored on")
    unseen_claims: list[str] = Field(default_factory=list, description="claim files to score, not among the sources")
    baselines: dict[str, str] = Field(
        default_factory=dict,
        description="readers beside it in the model card, as `start` names them",
    )
    notes: list[str] = Field(default_factory=list, description="for the model card, on how it was made")
    limits: list[str] = Field(default_factory=list, description="for the model card, beside those of every reader")

    def trains_as(self, other: Recipe) -> bool:
        """Whether a run of `other` is one of this: what is done with the trained weights may differ."""
        return self.model_dump(exclude=_AFTERWARDS) == other.model_dump(exclude=_AFTERWARDS)


def load_recipe(path: Path) -> Recipe:
    """Read a YAML recipe; raises `ConfigurationError` with the first thing that is wrong."""
    try:
        return Recipe.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, RecursionError, yaml.YAMLError, ValidationError) as error:
        first = str(error).splitlines()[0] if not isinstance(error, ValidationError) else _first_problem(error)
        raise ConfigurationError(
            f"recipe {str(path)!r}: {first}", remedy="see slarag/backends/training/reader.yaml"
        ) from error


def _first_problem(error: ValidationError) -> str:
    problem = error.errors()[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}"


def build_examples(recipe: Recipe, data: Path) -> list[Example]:
    """All examples of the recipe in a fixed random order; file paths are under `data` or beside the recipes."""
    rng = random.Random(recipe.seed)
    held_out = set(recipe.held_out_titles)
    examples: list[Example] = []
    for source in recipe.sources:
        for file in source_files(source.path, data):
            rows = [row for row in source_rows(file) if row.get("title") not in held_out]
            examples += _made_of(rows, source, rng)
    rng.shuffle(examples)
    return examples


def _made_of(rows: list[Row], source: Source, rng: random.Random) -> list[Example]:
    """What `source` asks to be made of the rows of one of its files."""
    rows = [relabelled(row, source.labels) for row in rows] if source.labels else rows
    examples = sampled(map(ROW_KINDS[source.kind], rows), source.limit, rng)
    if source.negatives:
        made = same_article_negatives if source.kind == "reading" else rival_evidence
        examples += made(rows, source.negatives, rng)
    if source.answers_as_claims:
        examples += _verifier_examples(rows, source.answers_as_claims, rng)
    examples += conclusion_examples(rows, source.conclusions, rng) if source.conclusions else []
    examples += opposite_claims(rows, source.opposites, rng) if source.opposites else []
    return examples


def _verifier_examples(rows: list[Row], count: int, rng: random.Random) -> list[Example]:
    answers: dict[str, list[str]] = {}
    for row in rows:
        answers.setdefault(row["context"], []).extend(row["answers"][:1])
    drawn = rng.sample(rows, min(2 * count, len(rows)))
    return sampled((answer_as_claim(row, answers[row["context"]], rng) for row in drawn), count, rng)
