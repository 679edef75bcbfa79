"""Training the intent classifier on a small folder that looks like the public files."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slarag.backends.training.intent_sources import SOURCES, read_all
from slarag.backends.training.intent_templates import own_questions
from slarag.backends.training.intents import Settings, train_intents
from slarag.sla.classifier import IntentClassifier
from slarag.sla.errors import ConfigurationError
from slarag.sla.intents import INTENTS

SMALL = Settings(own_per_intent=25, folds=2)
NAMES = ("Ada", "Bela", "Cleo", "Dora", "Emil", "Fanny", "Gero", "Hana")


def write(path: Path, rows: Iterable[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One or two sources of every intent in both halves."""
    folder = tmp_path_factory.mktemp("data")
    squad = [{"question": f"When was {n} born?", "answers": ["1900"]} for n in NAMES]
    squad += [{"question": f"What are the books of {n}?", "answers": ["Fog, Rain, and Sun"]} for n in NAMES]
    write(folder / "reader/squad_v1_train.jsonl.gz", squad)
    write(folder / "intent/boolq_train.jsonl.gz", [{"question": f"is {n} still alive"} for n in NAMES])
    hotpot = [{"question": f"Who is older, {n} or Zoe?", "type": "comparison"} for n in NAMES]
    hotpot += [{"question": f"Where was the wife of the brother of {n} born?", "type": "bridge"} for n in NAMES]
    write(folder / "intent/hotpotqa_dev_questions_type.jsonl.gz", hotpot)
    write(folder / "eval/lfrqa_long_answers.jsonl.gz", [{"question": f"why did {n} leave"} for n in NAMES])
    clinc = [
        {"text": f"{verb} my alarm for {n}", "intent": name}
        for n in NAMES
        for verb, name in (("set", "a"), ("stop", "b"))
    ]
    write(
        folder / "intent/clinc150_intent_train_val.jsonl.gz",
        [*clinc, {"text": "what are black holes", "intent": "oos"}],
    )
    write(folder / "eval/nq_open_dev.jsonl", [{"question": f"who taught {n} to sing"} for n in NAMES])
    write(folder / "intent/strategyqa_train.jsonl", [{"question": f"Could {n} swim?"} for n in NAMES])
    wiki = [{"question": f"Which came first, {n} or Fog?", "source": "2wikimultihopqa"} for n in NAMES]
    wiki += [{"question": f"Who owns the club that {n} plays for?", "source": "musique"} for n in NAMES]
    write(folder / "intent/adaptive_rag_labels_BC.jsonl", wiki)
    write(folder / "reader/bioasq_list_items.jsonl.gz", [{"question": f"List the pupils of {n}."} for n in NAMES])
    write(folder / "eval/qmsum_questions_train_val.jsonl", [{"question": f"Summarize what {n} said."} for n in NAMES])
    return folder


EMBEDDER = "one long number"


def embed(texts: list[str]) -> np.ndarray:
    """Unit vectors that carry nothing but the length."""
    vectors = np.ones((len(texts), 384), dtype=np.float32)
    vectors[:, 0] = [len(text) for text in texts]
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    out = tmp_path_factory.mktemp("weights") / "new"
    return train_intents(data, out, embed=embed, embedder=EMBEDDER, settings=SMALL), out


def test_what_is_written_is_a_classifier(trained: tuple[dict[str, Any], Path]) -> None:
    _, out = trained
    classifier = IntentClassifier.load(out / "intents.npz")
    vector = embed(["x"])[0]
    assert classifier.embedder == EMBEDDER
    assert classifier.predict("Who is older, Ida or Zoe?", vector).top == "comparison"
    assert classifier.predict("List the pupils of Ida.", vector).top == "list"
    assert classifier.predict("is ida still alive", vector).top == "yes_no"


def test_the_card_says_how_it_was_scored_and_on_what(trained: tuple[dict[str, Any], Path]) -> None:
    card, out = trained
    assert json.loads((out / "intents.json").read_text(encoding="utf-8")) == card
    assert card["intents"] == list(INTENTS)
    assert set(card["splits"]) == {"by_source", "by_source_reversed", "random"}
    for split in card["splits"].values():
        confusion = np.array(split["confusion"])
        assert confusion.shape == (7, 7)
        assert confusion.sum() == split["tested"]
        assert 0 <= split["macro_f1"] <= 1
    assert {source["name"] for source in card["sources"]} == {*(source.name for source in SOURCES), "own"}
    assert all(source["licence"] for source in card["sources"])


def test_no_source_is_trained_on_and_tested_on(trained: tuple[dict[str, Any], Path]) -> None:
    for name in ("by_source", "by_source_reversed"):
        split = trained[0]["splits"][name]
        assert not set(split["trained_on"]) & set(split["tested_on"])
        assert set(split["accuracy_by_source"]) == set(split["tested_on"])


def test_training_twice_gives_the_same(data: Path, trained: tuple[dict[str, Any], Path], tmp_path: Path) -> None:
    again = train_intents(data, tmp_path, embed=embed, embedder=EMBEDDER, settings=SMALL)
    assert again == trained[0]
    assert (tmp_path / "intents.npz").stat().st_size == (trained[1] / "intents.npz").stat().st_size


def test_progress_is_told(data: Path, tmp_path: Path) -> None:
    told: list[str] = []
    train_intents(data, tmp_path, embed=embed, embedder=EMBEDDER, settings=SMALL, report=told.append)
    assert any("by_source: macro-F1" in line for line in told)


def test_a_folder_without_an_intent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no questions of") as caught:
        train_intents(tmp_path, tmp_path / "out", embed=embed, embedder=EMBEDDER, settings=SMALL)
    assert "add the files" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_questions_of_two_intents_and_repeated_ones_are_left_out(data: Path) -> None:
    questions = read_all(data)
    assert len({question.text.lower() for question in questions}) == len(questions)
    assert "what are black holes" not in {question.text for question in questions}


def test_a_row_is_labelled_by_its_source() -> None:
    rows: dict[str, dict[str, Any]] = {
        "squad": {"question": "Who?", "answers": ["Ada"]},
        "hotpotqa": {"question": "Who?", "type": "bridge"},
        "mintaka": {"question": "Who?", "complexity": "generic", "answer_labels": ["Ada"]},
        "clinc150-a": {"intent": "b", "text": "stop"},
        "clinc150-b": {"intent": "a", "text": "go"},
    }
    named = {source.name: source for source in SOURCES}
    assert {named[name].choose(row) for name, row in rows.items()} == {"factoid", "multi_hop", "out_of_scope"}
    assert len(named) == len(SOURCES)


def test_the_projects_own_questions_cover_every_intent_and_repeat() -> None:
    questions = list(own_questions(40))
    assert {question.intent for question in questions} == set(INTENTS)
    assert questions == list(own_questions(40))
    assert questions != list(own_questions(40, seed=1))
    assert not [question.text for question in questions if "{" in question.text]
