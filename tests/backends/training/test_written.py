"""Claims and evidence in blocks of plain text, and the recipes that learn from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from slarag.backends.training.recipe import Recipe, build_examples
from slarag.backends.training.sources import NOT_ENOUGH, REFUTED, SUPPORTED
from slarag.backends.training.written import RECIPES, located, source_rows, written_rows
from slarag.sla.errors import DataError

BLOCKS = """E: Half of the cups leaked.
S: Some cups leaked.
R: No cup leaked.

C: Tea keeps people awake.
N: Tea is drunk in many countries.
S: Sleep came later after tea: by an hour.
"""


def _file(folder: Path, text: str) -> Path:
    path = folder / "pairs.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_heads_are_evidence_or_claims_of_the_lines_below(tmp_path: Path) -> None:
    rows = list(written_rows(_file(tmp_path, BLOCKS)))
    assert rows == [
        {"evidence": "Half of the cups leaked.", "claim": "Some cups leaked.", "label": "SUPPORTS"},
        {"evidence": "Half of the cups leaked.", "claim": "No cup leaked.", "label": "REFUTES"},
        {
            "claim": "Tea keeps people awake.",
            "evidence": "Tea is drunk in many countries.",
            "label": "NOT_ENOUGH_INFO",
        },
        {
            "claim": "Tea keeps people awake.",
            "evidence": "Sleep came later after tea: by an hour.",
            "label": "SUPPORTS",
        },
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("S: no head\n", 1),
        ("E: one\nS: two\nE: three\n", 3),
        ("E: one\n\nN: after a gap\n", 3),
        ("E: one\nX: two\n", 2),
        ("E: one\nS:\n", 2),
        ("C: one\nplain text\n", 2),
    ],
)
def test_a_line_out_of_place_is_named(tmp_path: Path, text: str, line: int) -> None:
    with pytest.raises(DataError, match=f"line {line}:"):
        list(written_rows(_file(tmp_path, text)))


def test_a_recipe_learns_from_them(tmp_path: Path) -> None:
    _file(tmp_path, BLOCKS)
    recipe = Recipe.model_validate({"sources": [{"path": "pairs.txt", "kind": "claims"}]})
    examples = build_examples(recipe, tmp_path)
    assert {(e.first, e.labels) for e in examples} == {
        ("Some cups leaked.", SUPPORTED),
        ("No cup leaked.", REFUTED),
        ("Tea keeps people awake.", NOT_ENOUGH),
        ("Tea keeps people awake.", SUPPORTED),
    }


def test_a_folder_stands_for_each_of_its_files(tmp_path: Path) -> None:
    folder = tmp_path / "pairs"
    folder.mkdir()
    for name, claim in {"one": "Some cups leaked.", "two": "Every cup leaked."}.items():
        (folder / f"{name}.txt").write_text(f"E: Half of the cups leaked.\nS: {claim}\nN: {claim} Often.\n")
    (folder / "notes.md").write_text("not a file of claims")
    recipe = Recipe.model_validate({"sources": [{"path": "pairs", "kind": "claims", "limit": 1}]})
    examples = build_examples(recipe, tmp_path)
    assert len(examples) == 2, "the limit is that of a file"
    assert {example.first.split()[0] for example in examples} == {"Some", "Every"}


def test_what_ships_beside_the_recipes_is_whole_and_even(tmp_path: Path) -> None:
    files = sorted((RECIPES / "claims").glob("*.txt"))
    assert files
    for path in files:
        rows = list(source_rows(located(f"./claims/{path.name}", tmp_path)))
        assert rows == list(written_rows(path))
        shares = [sum(row["label"] == label for row in rows) / len(rows) for label in {row["label"] for row in rows}]
        assert len(shares) == 3
        assert max(shares) < 0.45, path.name
        assert len({(row["claim"], row["evidence"]) for row in rows}) == len(rows)
