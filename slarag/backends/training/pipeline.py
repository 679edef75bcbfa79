"""From a recipe to a reader folder: train, fit thresholds, evaluate, write the weights and the model card."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ...sla.errors import ConfigurationError
from ..reader.model import Reader
from ..reader.store import ReaderSettings, load_reader, save_reader
from .card import write_card
from .evaluation import ClaimScores, ReadingScores, fit_settings, fits, read_pairs, score_claims, score_reading
from .recipe import Recipe
from .soup import average, refit_schedule
from .sources import read_rows
from .start import initial_reader, reader_folder
from .trainer import load_examples, read_progress, train_reader
from .written import located, source_rows

Report = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class ReaderScores:
    """What a finished reader scores; kept as `scores.json` beside the weights.

    reading: on the articles that no threshold was fitted on. claims: per source, all of them unseen in training.
    """

    reading: ReadingScores | None
    claims: dict[str, ClaimScores]


def make_reader(recipe: Recipe, data: Path, run: Path, out: Path, report: Report = print) -> ReaderScores:
    """Train by `recipe` on the files under `data` (resuming in folder `run`), then evaluate and write folder `out`."""
    # Read before hours of training, so that a reader without scores is found out now.
    baselines = {name: read_scores(reader_folder(folder)) for name, folder in recipe.baselines.items()}
    weights = train_reader(recipe, data, run, report)
    model = load_run(weights, recipe)
    if recipe.averaged:
        average(model, recipe.averaged)
        refit_schedule(model, load_examples(run), recipe.batch_tokens, recipe.seed)
    save_reader(model, ReaderSettings(rank_exponent=recipe.rank_exponent), out, storage=recipe.storage)
    scores = evaluate_reader(recipe, data, out, report)
    write_card(out / "MODEL_CARD.md", recipe, model.encoder.config, scores, read_progress(run), baselines)
    return scores


def read_scores(folder: Path) -> ReaderScores:
    """What the reader in `folder` scored when it was made; raises `ConfigurationError` where that is not known."""
    try:
        raw: dict[str, Any] = json.loads((folder / "scores.json").read_text(encoding="utf-8"))
        reading = None if raw["reading"] is None else ReadingScores(**raw["reading"])
        return ReaderScores(reading=reading, claims={name: ClaimScores(**one) for name, one in raw["claims"].items()})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"no scores of the reader in {str(folder)!r} ({error})",
            remedy="leave it out of the recipe's baselines, or make it first",
        ) from error


def load_run(weights: Path, recipe: Recipe) -> Reader:
    """The model of a run's `weights.safetensors`, float32."""
    model = initial_reader(recipe.model, recipe.seed)
    model.load_state_dict(load_file(weights), strict=False)
    return model.eval()


def evaluate_reader(recipe: Recipe, data: Path, folder: Path, report: Report = print) -> ReaderScores:
    """Fit the thresholds of the reader in `folder` on a third of the development articles, score it on the others.

    The reader is scored as it is stored and as this machine runs it. Writes `scores.json`.
    """
    model, settings = load_reader(folder)
    reading = None
    if recipe.development is not None:
        rows = list(read_rows(data / recipe.development))
        report(f"reading {len(rows)} development questions")
        readings = read_pairs(model, [(row["question"], row["context"]) for row in rows], threads=_threads())
        fit = [i for i, row in enumerate(rows) if fits(row)]
        rest = [i for i, row in enumerate(rows) if not fits(row)]
        settings = fit_settings([rows[i] for i in fit], [readings[i] for i in fit], settings)
        reading = score_reading([rows[i] for i in rest], [readings[i] for i in rest], settings)
        report(f"reading: {reading}")
        original, _ = load_reader(folder)
        save_reader(original, settings, folder, storage=recipe.storage)
    claims: dict[str, ClaimScores] = {}
    for name in recipe.unseen_claims:
        rows = list(source_rows(located(name, data)))
        readings = read_pairs(model, [(row["claim"], row["evidence"]) for row in rows], threads=_threads())
        claims[Path(name).name.split(".")[0]] = score_claims(rows, readings)
        report(f"{name}: {claims[Path(name).name.split('.')[0]]}")
    scores = ReaderScores(reading=reading, claims=claims)
    (folder / "scores.json").write_text(json.dumps(asdict(scores), indent=1) + "\n", encoding="utf-8")
    return scores


def _threads() -> int:
    return min(2, torch.get_num_threads())
