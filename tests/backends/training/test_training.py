from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from slarag.backends.reader.config import EncoderConfig
from slarag.backends.reader.store import SHIPPED, SHIPPED_DENSE, load_reader, read_head
from slarag.backends.training.card import write_card
from slarag.backends.training.pipeline import ReaderScores, make_reader, read_scores
from slarag.backends.training.recipe import Recipe
from slarag.backends.training.start import ModelRecipe, initial_reader
from slarag.backends.training.trainer import Progress, read_progress, train_reader
from slarag.sla.errors import ConfigurationError

FACTS = [("Io", "Galileo", 1610), ("Titan", "Huygens", 1655), ("Triton", "Lassell", 1846), ("Deimos", "Hall", 1877)]


def _rows() -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for moon, person, year in FACTS:
        context = f"{moon} is a moon that {person} found in {year}."
        for question, answer in (
            (f"Who found {moon}?", person),
            (f"When was {moon} found?", str(year)),
            ("Who ate it?", ""),
        ):
            rows.append(
                {
                    "title": moon,
                    "context": context,
                    "question": question,
                    "answers": [answer] if answer else [],
                    "answer_starts": [context.index(answer)] if answer else [],
                    "is_impossible": not answer,
                    "plausible_answers": [] if answer else [person],
                }
            )
    return rows


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder with a few question and claim rows."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in _rows()))
    claims = [
        {"claim": f"{m} was found by {p}.", "evidence": f"{p} found {m}.", "label": "SUPPORTS"} for m, p, _ in FACTS
    ]
    (folder / "claims.jsonl").write_text("".join(json.dumps(row) + "\n" for row in claims))
    return folder


def _recipe(**changes: object) -> Recipe:
    return Recipe.model_validate(
        {
            "sources": [{"path": "rows.jsonl", "kind": "reading", "negatives": 0, "answers_as_claims": 2}],
            "batch_tokens": 90,
            "max_tokens": 64,
            "epochs": 1,
            "processes": 1,
            **changes,
        }
    )


def test_a_reader_is_made_evaluated_and_described(data: Path, tmp_path: Path) -> None:
    recipe = _recipe(development="rows.jsonl", unseen_claims=["claims.jsonl"], epochs=1)
    lines: list[str] = []
    scores = make_reader(recipe, data, tmp_path / "run", tmp_path / "out", lines.append)
    assert scores.reading is not None
    assert 0 <= scores.reading.f1_forced <= 1
    assert scores.claims["claims"].rows == len(FACTS)
    model, settings = load_reader(tmp_path / "out")
    assert not model.training
    assert settings.null_weights != (0.0, 0.5, 0.5), "fitted, not the default"
    card = (tmp_path / "out" / "MODEL_CARD.md").read_text()
    assert f"{scores.reading.f1_forced:.3f}" in card
    assert "rows.jsonl" in card


def test_a_killed_run_goes_on_from_its_checkpoint(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    recipe = _recipe(checkpoint_seconds=0, epochs=6)
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from slarag.backends.training.recipe import Recipe\n"
        "from slarag.backends.training.trainer import train_reader\n"
        "if __name__ == '__main__':\n"
        "    train_reader(Recipe.model_validate_json(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), str)\n"
    )
    script = tmp_path / "train.py"
    script.write_text(program)
    command = [sys.executable, str(script), recipe.model_dump_json(), str(data), str(run)]
    process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL)
    while not (run / "checkpoint.safetensors").exists():
        assert process.poll() is None, "it ended before its first checkpoint"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    reached = read_progress(run).step
    assert not (run / "weights.safetensors").exists()
    train_reader(recipe, data, run, str)
    finished = read_progress(run)
    assert finished.share == 1.0
    assert finished.step > reached >= 1
    assert (run / "weights.safetensors").exists()


def test_a_run_folder_of_another_recipe_is_refused(data: Path, tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(ConfigurationError, match="another recipe"):
        train_reader(_recipe(), data, tmp_path, str)


@pytest.mark.parametrize(("conflict", "told"), [({"group": 2}, "group"), ({"experts": 8}, "experts"), ({}, "skip")])
def test_a_start_that_is_dynamic_already_keeps_its_form(conflict: dict[str, int], told: str) -> None:
    skip = {} if told == "skip" else {"skip": "layer"}
    with pytest.raises(ConfigurationError, match=f"the recipe's {told} is"):
        initial_reader(ModelRecipe.model_validate({"start": str(SHIPPED), **skip, **conflict}), 0)


def test_a_dynamic_start_may_be_described_as_it_is() -> None:
    for said in ({}, {"group": 3, "experts": 4}):
        model = ModelRecipe.model_validate({"start": str(SHIPPED), "skip": "layer", **said})
        assert initial_reader(model, 0).encoder.config.experts == 4


def test_the_reader_that_recipes_start_from_is_the_dense_one() -> None:
    assert not initial_reader(ModelRecipe(start="reader"), 0).encoder.config.is_dynamic


def test_a_run_of_an_older_version_goes_on_with_the_fields_that_it_lacks(data: Path, tmp_path: Path) -> None:
    run, recipe = tmp_path / "run", _recipe(epochs=1)
    run.mkdir()
    kept = json.loads(recipe.model_dump_json())
    del kept["model"]["capacity_steps"]
    (run / "recipe.json").write_text(json.dumps(kept))
    assert train_reader(recipe, data, run, str).exists()


def test_what_is_done_with_the_weights_makes_no_other_run(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    weights = train_reader(_recipe(), data, run, str)
    after = {"storage": "int8", "notes": ["Tried twice."], "baselines": {"dense": "reader"}}
    assert train_reader(_recipe(**after), data, run, str) == weights
    with pytest.raises(ConfigurationError, match="another recipe"):
        train_reader(_recipe(learning_rate=1e-5), data, run, str)


def test_a_card_tells_what_other_readers_score_and_what_the_recipe_says(tmp_path: Path) -> None:
    scores = read_scores(SHIPPED)
    recipe = _recipe(notes=["The shares were chosen."], limits=["Small budgets cost answers."])
    config = EncoderConfig.from_dict(read_head(SHIPPED)["config"])
    written = tmp_path / "card.md"
    write_card(
        written, recipe, config, scores, Progress(step=3), {"dense": read_scores(SHIPPED_DENSE), "none": _UNSCORED}
    )
    card = written.read_text()
    dense = read_scores(SHIPPED_DENSE).reading
    assert dense is not None
    assert f"| dense | {dense.f1_forced:.3f} | {dense.f1:.3f} | {dense.rows} |" in card
    assert "| none | - | - | - | - | - |" in card
    assert "\n\nThe shares were chosen.\n\n## Training data" in card
    assert "## Limits\n* Small budgets cost answers.\n* It quotes" in card
    assert "bench/depth.py" in card, "it has a budget"


def test_a_card_of_a_dense_reader_alone_has_nothing_beside_it(tmp_path: Path) -> None:
    write_card(tmp_path / "card.md", _recipe(), EncoderConfig(), read_scores(SHIPPED_DENSE), Progress())
    card = (tmp_path / "card.md").read_text()
    assert "Beside it" not in card
    assert "bench/depth.py" not in card
    assert "\n## Limits\n* It quotes" in card


def test_a_baseline_without_scores_is_found_out_before_the_training(data: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no scores of the reader"):
        make_reader(_recipe(baselines={"other": str(tmp_path)}), data, tmp_path / "run", tmp_path / "out", str)
    assert not (tmp_path / "run").exists()


_UNSCORED = ReaderScores(reading=None, claims={})
