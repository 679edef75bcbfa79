from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slarag.backends.reader.parent import load_tokenizer
from slarag.backends.training.encoding import collate, encode_examples, plan_batches
from slarag.backends.training.recipe import Recipe, build_examples, load_recipe
from slarag.backends.training.sources import (
    NOT_ENOUGH,
    REFUTED,
    SUPPORTED,
    Example,
    answer_as_claim,
    claim_example,
    reading_example,
    same_article_negatives,
)
from slarag.sla.errors import ConfigurationError


def _row(question: str, context: str, answer: str | None, title: str = "T") -> dict[str, Any]:
    return {
        "title": title,
        "context": context,
        "question": question,
        "answers": [answer] if answer else [],
        "answer_starts": [context.index(answer)] if answer else [],
        "is_impossible": answer is None,
        "plausible_answers": [] if answer else ["something"],
    }


IO = "Io is a moon of Jupiter. It was found in 1610 by Galileo."
MARS = "Mars has two moons. Phobos was found in 1877 by Asaph Hall."
ROWS = [
    _row("Who found Io?", IO, "Galileo"),
    _row("When was Io found?", IO, "1610"),
    _row("When was Phobos found?", MARS, "1877"),
    _row("Who landed on Io?", IO, None),
]


def test_a_question_row_keeps_its_answer_where_it_stands() -> None:
    example = reading_example(ROWS[0])
    assert example is not None
    assert example.passage[example.start : example.end] == "Galileo"
    none = reading_example(ROWS[3])
    assert none is not None
    assert (none.start, none.end) == (-1, -1)
    assert reading_example({**ROWS[0], "answer_starts": [3]}) is None


@pytest.mark.parametrize(
    ("row", "labels"),
    [
        ({"claim": "c", "evidence": "e", "label": "SUPPORTS"}, SUPPORTED),
        ({"claim": "c", "evidence": "e", "label": "NOT_SUPPORTED"}, REFUTED | NOT_ENOUGH),
        ({"question": "q", "context": "e", "answer": False}, REFUTED),
        ({"question": "q", "context": "e", "label": "maybe"}, NOT_ENOUGH),
    ],
)
def test_claims_and_yes_no_questions_become_support_labels(row: dict[str, Any], labels: int) -> None:
    example = claim_example(row)
    assert example is not None
    assert example.labels == labels
    assert claim_example({**row, "label": "unheard of"}) is None


def test_an_answer_in_the_claims_place_is_labelled_by_what_it_is() -> None:
    rng = random.Random(0)
    seen = {answer_as_claim(ROWS[0], ["Galileo", "1610"], rng) for _ in range(20)}
    by_label = {example.labels: example.first for example in seen if example is not None}
    assert by_label == {SUPPORTED: "Who found Io? Galileo", REFUTED: "Who found Io? 1610"}
    unknown = answer_as_claim(ROWS[3], [], rng)
    assert unknown is not None
    assert unknown.labels == NOT_ENOUGH


def test_a_negative_is_another_paragraph_of_the_article_without_the_answer() -> None:
    negatives = list(same_article_negatives(ROWS, 10, random.Random(0)))
    assert {(n.first, n.passage) for n in negatives} == {
        ("Who found Io?", MARS),
        ("When was Io found?", MARS),
        ("When was Phobos found?", IO),
    }
    assert all(n.start == -1 for n in negatives)


def test_held_out_articles_and_limits_are_respected(tmp_path: Path) -> None:
    rows = [*ROWS, _row("Where is Rome?", "Rome is in Italy.", "Italy", title="Rome")]
    with gzip.open(tmp_path / "rows.jsonl.gz", "wt") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    recipe = Recipe.model_validate(
        {"sources": [{"path": "rows.jsonl.gz", "kind": "reading", "limit": 3}], "held_out_titles": ["Rome"]}
    )
    examples = build_examples(recipe, tmp_path)
    assert len(examples) == 3
    assert all("Rome" not in example.passage for example in examples)
    assert build_examples(recipe, tmp_path) == examples


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 120), st.integers(40, 64), st.integers(0, 9))
def test_the_gold_span_survives_tokens_and_windows(at: int, max_tokens: int, seed: int) -> None:
    words = [f"w{i}" for i in range(121)]
    passage = " ".join(words)
    start = len(" ".join(words[:at])) + (1 if at else 0)
    example = Example(first="Which one?", passage=passage, start=start, end=start + len(words[at]))
    tokenizer = load_tokenizer()
    data = encode_examples([example], tokenizer, max_tokens, seed)
    assert data.lengths[0] <= max_tokens
    gold = data.tokens[data.start[0] : data.end[0] + 1].tolist()
    assert tokenizer.decode(gold).replace(" ", "") == words[at]


def test_batches_cover_examples_of_like_length_once() -> None:
    lengths = np.random.default_rng(0).integers(5, 60, size=500)
    steps = list(plan_batches(lengths, batch_tokens=300, processes=2, seed=3))
    rows = np.concatenate([batch for step in steps for batch in step])
    assert len(set(rows.tolist())) == len(rows)
    assert len(rows) >= 480, "at most the last, unpaired batch is left out"
    for step in steps:
        assert len(step) == 2
        for batch in step:
            assert lengths[batch].max() * len(batch) <= 300
    again = [[b.tolist() for b in step] for step in plan_batches(lengths, 300, 2, 3)]
    assert again == [[b.tolist() for b in step] for step in steps]


def test_a_batch_marks_passage_tokens_and_labels() -> None:
    examples = [Example(first="Who found Io?", passage=IO, start=-1, end=-1, labels=REFUTED | NOT_ENOUGH)]
    batch = collate(encode_examples(examples, load_tokenizer(), 64, 0), np.array([0]))
    assert batch.labels.tolist() == [[False, True, True]]
    passage = batch.ids[0][batch.segments[0] == 1]
    assert load_tokenizer().decode(passage.tolist()) == IO.lower().replace(".", " .").replace(" .", ".")


def test_a_wrong_recipe_names_the_key(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("sources: []\nlearning_rat: 1\n")
    with pytest.raises(ConfigurationError, match="learning_rat"):
        load_recipe(path)
