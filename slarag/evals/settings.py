"""What an evaluation is asked to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..sla.errors import ConfigurationError
from ..sla.plan import Plan
from .formats import FORMATS, DataFormat

Mode = Literal["index", "reading"]


@dataclass(frozen=True, kw_only=True, slots=True)
class EvalSettings:
    """One evaluation.

    data: a question file, or a folder in BEIR's layout. out: the folder that receives the results; a run that was
    interrupted goes on there. profiles: names of shipped profiles or paths of profile files.
    format: how `data` is written; `auto` looks at the content. corpus: documents for questions that bring none.
    index: a ready index to retrieve from; without it one is built in `out` over all passages of the data.
    reading: give each question its own passages instead of retrieving.
    plan: runs every question, whatever the mapper says.
    limit: how many questions, drawn by `seed`; a larger limit of one seed contains the smaller. None takes all.
    concurrency: questions in flight. warm_up: questions asked before anything is measured, so that models are loaded.
    """

    data: Path
    out: Path
    profiles: tuple[str, ...] = ("balanced",)
    format: DataFormat = "auto"
    corpus: Path | None = None
    index: Path | None = None
    reading: bool = False
    plan: Plan | None = None
    limit: int | None = None
    seed: int = 0
    concurrency: int = 8
    warm_up: int = 2

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ConfigurationError(f"format {self.format!r} is unknown", remedy=f"use one of {', '.join(FORMATS)}")
        if self.index is not None and self.reading:
            raise ConfigurationError(
                "an index and reading mode exclude each other", remedy="leave out --index or --reading"
            )
        if not self.profiles:
            raise ConfigurationError("no profile to evaluate", remedy="name one with --profile, such as balanced")
        for name, value in (("limit", self.limit), ("concurrency", self.concurrency)):
            if value is not None and value < 1:
                raise ConfigurationError(f"{name} {value!r} is under 1", remedy=f"give a positive --{name}")
        if self.seed < 0:
            raise ConfigurationError(f"seed {self.seed!r} is under 0", remedy="give a --seed from 0")

    @property
    def mode(self) -> Mode:
        """Whether passages come from retrieval or from the question's own row."""
        return "reading" if self.reading else "index"


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    """How far a stage is: `done` of `total`, in the unit that the stage counts (documents or questions)."""

    stage: str
    done: int
    total: int


OnProgress = Callable[[Progress], None]
