from __future__ import annotations

import random

from slarag.backends.training.conclusions import conclusion_examples, opposite_claims
from slarag.backends.training.sources import NOT_ENOUGH, REFUTED, SUPPORTED

ROWS = [
    {
        "question": "Does zinc shorten a cold?",
        "context": "Colds last a week. In the zinc group they lasted four days. Nobody fell ill again. Zinc was cheap.",
        "long_answer": "Yes, our results suggest that zinc shortens a common cold and is safe.",
    },
    {
        "question": "Does zinc prevent a cold?",
        "context": "Children took zinc in winter. Colds came as often as without. Their number was small. It was cold.",
        "long_answer": "No. Zinc does not prevent a common cold in children of any age. Thanks to all.",
    },
]


def test_conclusions_are_supported_their_opposites_refuted_and_rivals_not_enough() -> None:
    examples = list(conclusion_examples(ROWS, 30, random.Random(1)))
    by_label = {label: {e.first for e in examples if e.labels == label} for label in (SUPPORTED, REFUTED, NOT_ENOUGH)}
    assert by_label[SUPPORTED] == {
        "Zinc shortens a common cold and is safe.",
        "Zinc does not prevent a common cold in children of any age.",
    }
    assert by_label[REFUTED]
    assert not by_label[REFUTED] & by_label[SUPPORTED]
    context = {row["context"]: row for row in ROWS}
    for example in examples:
        if example.labels == NOT_ENOUGH:
            assert example.first.split()[1] not in context[example.passage]["long_answer"]
        else:
            source = next(row for row in ROWS if example.passage.split(".")[0] in row["context"])
            assert ("children" in example.first) == ("children" in source["long_answer"])


def test_evidence_is_the_nearest_sentences_or_all_of_it() -> None:
    passages = {e.passage for seed in range(20) for e in conclusion_examples(ROWS[:1], 3, random.Random(seed))}
    whole = ROWS[0]["context"]
    assert whole in passages
    assert any(passage != whole and passage in whole and "zinc" in passage.lower() for passage in passages)


def test_rows_without_a_long_answer_give_nothing() -> None:
    assert not list(conclusion_examples([{**ROWS[0], "long_answer": ""}], 9, random.Random(0)))


def test_only_supported_claims_are_turned_round() -> None:
    rows = [
        {"claim": "Ice is melting faster than before.", "evidence": "Loss has doubled.", "label": "SUPPORTS"},
        {"claim": "Ice is growing.", "evidence": "Loss has doubled.", "label": "REFUTES"},
    ]
    (example,) = opposite_claims(rows, 5, random.Random(3))
    assert (example.passage, example.labels) == ("Loss has doubled.", REFUTED)
    assert example.first.startswith("Ice is ")
    assert example.first != rows[0]["claim"]


def test_every_label_that_says_supported_counts_and_the_draws_do_not_depend_on_its_name() -> None:
    def turned(label: str) -> list[str]:
        rows = [
            {"claim": f"Ice is melting faster in region {n}.", "evidence": "Loss.", "label": label} for n in range(9)
        ]
        return [example.first for example in opposite_claims(rows, 4, random.Random(5))]

    assert len(turned("SUPPORTS")) == 4
    assert turned("SUPPORTS") == turned("FULLY_ATTRIBUTABLE") == turned("yes")
    assert turned("REFUTES") == turned("a label of another data set") == []
