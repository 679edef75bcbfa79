from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import slarag.sla.classifier as classifier_module
from slarag.minilm.fingerprint import fingerprint
from slarag.minilm.folder import find_model_folder
from slarag.sla.classifier import DIM, IntentClassifier
from slarag.sla.errors import ConfigurationError
from slarag.sla.intents import INTENTS, IntentPrediction
from slarag.sla.wording import NAMES


def blank(**changes: np.ndarray) -> dict[str, np.ndarray]:
    parts = {
        "of_vector": np.zeros((DIM, len(INTENTS)), np.float32),
        "of_wording": np.zeros((len(NAMES), len(INTENTS)), np.float32),
        "bias": np.zeros(len(INTENTS), np.float32),
    }
    return {**parts, **changes}


def write(path: Path, **changes: np.ndarray | None) -> Path:
    names = {"intents": np.array(INTENTS), "wording": np.array(NAMES), "embedder": np.array("weights-1")}
    parts = {**blank(), **names, **changes}
    np.savez(path, **{name: part for name, part in parts.items() if part is not None})  # type: ignore[arg-type]
    return path


def test_the_shipped_weights_load_once() -> None:
    assert IntentClassifier.load() is IntentClassifier.load()


@given(st.text(max_size=200), st.integers(0, 2**32 - 1))
def test_any_question_gets_a_distribution(question: str, seed: int) -> None:
    vector = np.random.default_rng(seed).normal(size=DIM).astype(np.float32)
    prediction = IntentClassifier.load().predict(question, vector / np.linalg.norm(vector))
    assert set(prediction.probabilities) == set(INTENTS)
    assert sum(prediction.probabilities.values()) == pytest.approx(1)
    assert min(prediction.probabilities.values()) >= 0


@pytest.mark.parametrize(
    ("question", "intent"),
    [
        ("Which is taller, the Eiffel Tower or Big Ben?", "comparison"),
        ("List the moons of Mars", "list"),
        ("Is Berlin the capital of Germany?", "yes_no"),
        ("Explain how a battery works", "explanation"),
        ("set an alarm for seven", "out_of_scope"),
        ("When was the telescope launched?", "factoid"),
    ],
)
def test_the_wording_alone_tells_plain_cases(question: str, intent: str) -> None:
    assert IntentClassifier.load().predict(question, None).top == intent


def test_the_vector_counts() -> None:
    weights = blank()
    weights["of_vector"][5, 2] = 9
    vector = np.zeros(DIM, np.float32)
    vector[5] = 1
    assert IntentClassifier(**weights, embedder="weights-1").predict("anything", vector).top == INTENTS[2]


@pytest.mark.parametrize("shape", [(10,), (1, DIM), ()])
def test_a_vector_of_another_model_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        IntentClassifier.load().predict("Who?", np.zeros(shape, np.float32))


def test_a_file_of_ones_own_loads(tmp_path: Path) -> None:
    bias = np.arange(len(INTENTS), dtype=np.float32)
    own = IntentClassifier.load(write(tmp_path / "own.npz", bias=bias))
    assert own.predict("Who?", None).top == INTENTS[-1]
    assert own.embedder == "weights-1"


def test_the_shipped_weights_know_their_embedder() -> None:
    assert IntentClassifier.load().embedder == fingerprint(find_model_folder())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"intents": np.array(["factoid"])}, "another version"),
        ({"wording": np.array(["words_log"])}, "another version"),
        ({"embedder": None}, "another version"),
        ({"bias": np.zeros(3, np.float32)}, "damaged"),
        ({"bias": np.array([object()])}, "damaged"),
    ],
)
def test_weights_that_do_not_fit_are_refused(changes: dict[str, np.ndarray | None], words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        IntentClassifier.load(write(tmp_path / "own.npz", **changes))
    assert "slarag train intents" in str(caught.value)


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot be read"), (b"PK\x03\x04 cut", "damaged"), (b"x", "damaged")]
)
def test_a_file_that_is_no_archive_is_refused(content: bytes | None, words: str, tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=words):
        IntentClassifier.load(path)


class TestPrediction:
    def test_ties_go_to_the_first_intent(self) -> None:
        even = IntentPrediction({name: 1 / len(INTENTS) for name in INTENTS})
        assert even.top == INTENTS[0]
        assert even.confidence == pytest.approx(1 / len(INTENTS))

    @pytest.mark.parametrize("raw", [{}, {"factoid": 1.0}, dict.fromkeys(INTENTS, 1.0)])
    def test_what_is_no_distribution_is_refused(self, raw: dict[str, float]) -> None:
        with pytest.raises(ValueError, match="not a distribution"):
            IntentPrediction(raw)  # type: ignore[arg-type]


class TestShippedCard:
    """The scores that ship with the weights, and that they are about these weights."""

    CARD = json.loads((Path(classifier_module.__file__).with_name("weights") / "intents.json").read_text("utf-8"))

    def test_it_holds_the_bar_on_sources_that_were_not_trained_on(self) -> None:
        assert self.CARD["splits"]["by_source"]["macro_f1"] >= 0.75
        assert self.CARD["splits"]["random"]["macro_f1"] >= 0.75

    @pytest.mark.parametrize("split", ["by_source", "by_source_reversed", "random"])
    def test_its_scores_follow_from_its_confusion_matrix(self, split: str) -> None:
        found = self.CARD["splits"][split]
        confusion = np.array(found["confusion"])
        f1 = 2 * confusion.diagonal() / (confusion.sum(axis=0) + confusion.sum(axis=1))
        assert found["macro_f1"] == pytest.approx(f1.mean(), abs=1e-4)
        assert found["tested"] == confusion.sum()
        assert list(found["f1"]) == list(INTENTS)

    def test_it_names_every_source_with_its_licence(self) -> None:
        assert all(source["licence"] and source["questions"] for source in self.CARD["sources"])
        assert {source["half"] for source in self.CARD["sources"]} == {"a", "b", "own"}
