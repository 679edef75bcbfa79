"""The model card of a reader."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .recipe import Recipe

if TYPE_CHECKING:
    from ..reader.config import EncoderConfig
    from .pipeline import ReaderScores
    from .trainer import Progress

_TEMPLATE = """# Model card: the embedded reader

{what}

{how}

{notes}## Training data
{sources}

## Scores
{scores}

## Limits{limits}
* It quotes: an answer that stands in no passage cannot be given. Arithmetic, counting and inference over several
  passages are beyond one pass; the agents chain passes.
* English, mostly encyclopaedic prose. Other domains (reviews, medical, legal) were barely seen.
* Claim support is a small model's opinion: see the accuracies above before you rely on it.
* Texts that address the reader are data to it: it has no instructions to follow.
"""


_WHAT = """
**What it is.** An extractive reader: one forward pass over a question and a passage gives a distribution over the spans
of the passage, the probability that the passage holds no answer, and, for a claim and evidence, supported / refuted
/ not enough. A post-norm encoder of {layers} layers, {hidden} wide, fine-tuned from `{parent}`
(Apache-2.0), whose embeddings stay frozen and are not shipped. {form}Matrices are stored in {storage}; run in bfloat16
where the CPU has it, else in float32.
"""

_HOW = """
**Made by** `slarag train reader` with a recipe beside the code (`slarag/backends/training/*.yaml`):
{started}{steps} steps, {minutes:.0f} minutes of {processes} CPU threads, {share:.0%} of the schedule's time, seed
{seed}. {averaged}
"""

_BUDGETS = "What its answers lose within a compute budget: `python bench/depth.py --data FILE`."


def write_card(
    path: Path,
    recipe: Recipe,
    config: EncoderConfig,
    scores: ReaderScores,
    progress: Progress,
    baselines: Mapping[str, ReaderScores] | None = None,
) -> None:
    """Write the card of a reader of `config` trained by `recipe`; `progress` is the run's last.

    baselines: by name, what the recipe's other readers score.
    """
    from ..reader.parent import PARENT_NAME

    what = _WHAT.format(
        layers=config.num_layers,
        hidden=config.hidden_size,
        parent=PARENT_NAME,
        form=_form(config),
        storage=recipe.storage,
    )
    how = _HOW.format(
        started="" if recipe.model.start == "parent" else f"going on from `{recipe.model.start}`: ",
        steps=progress.step,
        minutes=progress.seconds / 60,
        processes=recipe.processes,
        share=progress.share,
        seed=recipe.seed,
        averaged=_averaged(recipe),
    )
    beside = {"this one": scores, **baselines} if baselines else {}
    parts = [_score_table(scores), _baseline_table(beside), _BUDGETS if config.skip != "none" else ""]
    text = _TEMPLATE.format(
        what=_paragraph(what),
        how=_paragraph(how),
        notes="".join(f"{_paragraph(note)}\n\n" for note in recipe.notes),
        sources=_source_table(recipe),
        scores="\n\n".join(part for part in parts if part),
        limits="".join(f"\n{_bullet(limit)}" for limit in recipe.limits),
    )
    path.write_text(text, encoding="utf-8")


def _paragraph(text: str) -> str:
    return textwrap.fill(" ".join(text.split()), width=120, break_on_hyphens=False)


def _bullet(text: str) -> str:
    return textwrap.fill(f"* {text}", width=120, subsequent_indent="  ", break_on_hyphens=False)


def _averaged(recipe: Recipe) -> str:
    """Whose weights the reader's are the average of; nothing where they are the run's own."""
    others = [f"{ingredient.share:g} of `{ingredient.reader}`" for ingredient in recipe.averaged]
    own = 1 - sum(ingredient.share for ingredient in recipe.averaged)
    return f"Its weights are an average: {own:.3g} of this run's, {', '.join(others)}." if others else ""


def _form(config: EncoderConfig) -> str:
    """What is dynamic about the encoder; nothing of a dense one."""
    parts: list[str] = []
    if config.added_layers:
        parts.append(f"Layers {', '.join(map(str, config.added_layers))} (from 0) were added behind gates.")
    if config.experts:
        parts.append(
            f"Each feed-forward block has {config.shared_size} units that every token passes and {config.experts} "
            f"experts of {config.expert_size}, of which a token passes {config.top_k}."
        )
    if config.skip != "none":
        spared = "the feed-forward block" if config.skip == "feed_forward" else "all of a layer but its key and value"
        parts.append(f"A null expert spares tokens {spared}, as a request's compute budget asks.")
    return " ".join([*parts, ""])


def _source_table(recipe: Recipe) -> str:
    lines = ["| file | used as | examples at most | derived | licence |", "|---|---|---|---|---|"]
    for source in recipe.sources:
        made = {
            "negatives": source.negatives,
            "answers as claims": source.answers_as_claims,
            "claims of conclusions": source.conclusions,
            "opposites of claims": source.opposites,
        }
        derived = [f"{count} {what}" for what, count in made.items() if count]
        limit = source.limit if source.limit is not None else "all"
        lines.append(f"| {source.path} | {source.kind} | {limit} | {', '.join(derived) or '-'} | {source.licence} |")
    return "\n".join(lines)


def _score_table(scores: ReaderScores) -> str:
    lines = ["| what | figure | n |", "|---|---|---|"]
    if scores.reading is not None:
        r = scores.reading
        lines += [
            f"| f1_forced, answerable questions of the development file | {r.f1_forced:.3f} | {r.answerable} |",
            f"| exact match, forced | {r.exact_forced:.3f} | {r.answerable} |",
            f"| f1 over all, with the shipped threshold | {r.f1:.3f} | {r.rows} |",
            f"| no_answer_recall | {r.no_answer_recall:.3f} | {r.rows - r.answerable} |",
        ]
    for name, claim in scores.claims.items():
        lines.append(
            f"| {name}, three-way accuracy (majority {claim.majority:.3f}) | {claim.accuracy:.3f} | {claim.rows} |"
        )
    return "\n".join(lines) + (
        "\n\nThe development figures are on the articles that no threshold was fitted on (two thirds of them); no"
        "\nrow of the claim files was trained on."
    )


def _baseline_table(readers: Mapping[str, ReaderScores]) -> str:
    """A row a reader, for those scored beside it; nothing without any."""
    if not readers:
        return ""
    claims = list(dict.fromkeys(name for scores in readers.values() for name in scores.claims))
    head = ["reader", "f1_forced", "f1", "questions", *claims]
    rows = [[name, *_reading_cells(scores), *_claim_cells(scores, claims)] for name, scores in readers.items()]
    lines = [head, ["---"] * len(head), *rows]
    return "Beside it:\n\n" + "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _reading_cells(scores: ReaderScores) -> list[str]:
    r = scores.reading
    return ["-"] * 3 if r is None else [f"{r.f1_forced:.3f}", f"{r.f1:.3f}", str(r.rows)]


def _claim_cells(scores: ReaderScores, names: Sequence[str]) -> list[str]:
    found = [scores.claims.get(name) for name in names]
    return ["-" if claim is None else f"{claim.accuracy:.3f} of {claim.rows}" for claim in found]
