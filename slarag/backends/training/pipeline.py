"""From a recipe to a reader folder: train, fit thresholds, evaluate, write the weights and the model card."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from ..reader.model import Reader
from ..reader.store import ReaderSettings, load_reader, save_reader
from .card import write_card
from .evaluation import ClaimScores, ReadingScores, fit_settings, fits, read_pairs, score_claims, score_reading
from .recipe import Recipe
from .shares import fit_shares
from .soup import average, refit_schedule, sample_batches
from .sources import read_rows
from .start import initial_reader
from .trainer import load_examples, read_progress, train_reader

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
    weights = train_reader(recipe, data, run, report)
    model = load_run(weights, recipe)
    if recipe.averaged:
        average(model, recipe.averaged)
        refit_schedule(model, load_examples(run), recipe.batch_tokens, recipe.seed)
    if recipe.spread == "loss":
        report("spreading budgets over the layers")
        for before, after in fit_shares(model, sample_batches(load_examples(run), recipe.batch_tokens, recipe.seed)):
            report(f"divergence {before:.4f}, then {after:.4f}")
    save_reader(model, ReaderSettings(rank_exponent=recipe.rank_exponent), out, storage=recipe.storage)
    scores = evaluate_reader(recipe, data, out, report)
    write_card(out / "MODEL_CARD.md", recipe, model.encoder.config, scores, read_progress(run))
    return scores


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
        rows = list(read_rows(data / name))
        readings = read_pairs(model, [(row["claim"], row["evidence"]) for row in rows], threads=_threads())
        claims[Path(name).name.split(".")[0]] = score_claims(rows, readings)
        report(f"{name}: {claims[Path(name).name.split('.')[0]]}")
    scores = ReaderScores(reading=reading, claims=claims)
    (folder / "scores.json").write_text(json.dumps(asdict(scores), indent=1) + "\n", encoding="utf-8")
    return scores


def _threads() -> int:
    return min(2, torch.get_num_threads())
