"""What an engine is put together from, and what it refuses."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import InMemoryVectorStore

from slarag.backends.protocol import BackendLoad
from slarag.engine import Engine
from slarag.parts import Closer, Parts, close_all
from slarag.retrievers.index import IndexRetriever
from slarag.sla.conditions import Conditions
from slarag.sla.errors import ConfigurationError, RunError
from slarag.sla.evidence import Passage
from slarag.sla.intents import IntentPrediction
from tests.engine.support import CALIBRATION, PASSAGES, QUESTION, engine, one_plan
from tests.fakes import FixedClassifier, PassageList, ScriptedBackend


def test_what_an_embedder_raises_is_a_run_error() -> None:
    class Broken(PassageList):
        async def embed(self, questions: list[str]) -> Any:
            raise KeyError("embedding")

    with engine(retriever=Broken(PASSAGES)) as asked:
        with pytest.raises(RunError, match="embedder failed: KeyError: 'embedding'; check"):
            asked.ask(QUESTION)
        with pytest.raises(RunError, match="embedder"):
            asked.classify(QUESTION)


def test_what_a_classifier_raises_is_a_run_error() -> None:
    class Broken:
        def predict(self, question: str, vector: Any) -> Any:
            raise ZeroDivisionError("no weights")

    with engine(classifier=Broken()) as asked, pytest.raises(RunError, match="classifier failed: ZeroDivisionError"):
        asked.ask(QUESTION)


class Embedding(PassageList):
    """Says with what it embeds."""

    def __init__(self, fingerprint: str) -> None:
        super().__init__(PASSAGES)
        self.embedder_fingerprint = fingerprint


class Choosy(FixedClassifier):
    """Wants one embedder's vectors and keeps what it got."""

    embedder = "weights-1"

    def __init__(self) -> None:
        super().__init__()
        self.got: list[np.ndarray | None] = []

    def predict(self, question: str, vector: np.ndarray | None) -> IntentPrediction:
        self.got.append(vector)
        return super().predict(question, vector)


def test_a_classifier_gets_the_vectors_of_the_embedder_it_was_trained_with() -> None:
    choosy = Choosy()
    with engine(retriever=Embedding("weights-1"), classifier=choosy) as asked:
        asked.classify(QUESTION)
    assert choosy.got[0] is not None


def test_another_embedder_with_as_many_components_is_told_and_left_out() -> None:
    choosy = Choosy()
    with pytest.warns(UserWarning, match=r"another embedder than the retriever's \(weights-\).*wording alone"):
        asked = engine(retriever=Embedding("weights-2"), classifier=choosy)
    with asked:
        asked.classify(QUESTION)
    assert choosy.got == [None]


def test_where_the_embedder_is_not_said_the_wording_decides() -> None:
    choosy = Choosy()
    with engine(classifier=choosy) as asked:
        asked.classify(QUESTION)
    assert choosy.got == [None]


def test_a_langchain_retriever_is_taken_as_it_is() -> None:
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    store.add_documents([Document(page_content=passage.text) for passage in PASSAGES])
    with engine(retriever=store.as_retriever()) as asked:
        assert asked.ask(QUESTION).citations


def test_what_is_no_retriever_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="no embed and no retrieve and no source_text; give the folder"):
        engine(retriever=object())  # type: ignore[arg-type]


def test_what_was_opened_is_closed_when_a_later_part_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Path] = []

    class Opened(PassageList):
        embedder = SimpleNamespace(encode=list)

        def close(self) -> None:
            closed.append(tmp_path)

    monkeypatch.setattr(IndexRetriever, "open", lambda folder: Opened(PASSAGES))
    with pytest.raises(ConfigurationError, match="not a backend"):
        Engine.open(tmp_path, backend=7)  # type: ignore[arg-type]
    assert closed == [tmp_path]


def test_the_embedded_reader_has_read_before_the_first_question(monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[str] = []

    class Reader(ScriptedBackend):
        def open(self) -> None:
            done.append("open")

        async def read(self, first: str, passages: Sequence[Passage], deadline: float | None) -> None:
            done.append(f"read {len(passages)}")

        def forget(self) -> None:
            done.append("forget")

        async def aclose(self) -> None:
            done.append("close")

    monkeypatch.setattr("slarag.backends.reader.backend.EmbeddedReader", Reader)
    Engine.open(PassageList(PASSAGES), classifier=FixedClassifier(), calibration=CALIBRATION).close()
    assert done == ["open", "read 1", "forget", "close"]


def test_a_load_that_is_not_told_is_the_last_known_one() -> None:
    loads = deque([BackendLoad(waiting=9, running=3)])

    class Busy(ScriptedBackend):
        async def load(self) -> BackendLoad:
            if loads:
                return loads.popleft()
            raise TimeoutError

    async def ask(parts: Parts) -> list[Conditions]:
        return [await parts.conditions() for _ in range(2)]

    parts = Parts(
        retriever=PassageList(PASSAGES),
        backends=(Busy(),),
        classifier=FixedClassifier(),
        mapper=one_plan(),
        calibration=CALIBRATION,
        closers=[],
    )
    assert asyncio.run(ask(parts)) == [Conditions(waiting=9, running=3)] * 2


def test_what_is_no_backend_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"a builtins\.int is not a backend; give a Backend"):
        engine(7)  # type: ignore[arg-type]


def test_a_backend_that_cannot_answer_is_refused() -> None:
    judge = ScriptedBackend(capabilities=frozenset({"verify"}))
    with pytest.raises(ConfigurationError, match=r"cannot answer; it does \['verify'\]; give a backend"):
        engine(ScriptedBackend(name="reader"), judge)


def test_without_a_model_that_judges_claims_no_plan_asks_for_a_support_check() -> None:
    verifying = {
        can_verify: {
            option.plan.verification
            for option in engine(
                ScriptedBackend(capabilities=frozenset({"answer", *(["verify"] if can_verify else [])})), mapper=None
            )
            .explain(QUESTION)
            .feasible
        }
        for can_verify in (False, True)
    }
    assert verifying == {False: {"span"}, True: {"span", "support"}}


def test_a_pool_that_sleeps_is_a_load_like_any_other() -> None:
    parts = Parts(
        retriever=PassageList(PASSAGES),
        backends=(ScriptedBackend(load=BackendLoad(waiting=2, devices=0, seconds_per_passage=0.0)),),
        classifier=FixedClassifier(),
        mapper=one_plan(),
        calibration=CALIBRATION,
        closers=[],
    )
    assert asyncio.run(parts.conditions()) == Conditions(waiting=2, devices=1)


def test_all_is_closed_also_when_one_part_fails_to() -> None:
    closed: list[str] = []

    def closer(name: str, error: Exception | None = None) -> Closer:
        async def close() -> None:
            closed.append(name)
            if error is not None:
                raise error

        return close

    closers = [closer("first"), closer("second", OSError("broken")), closer("third")]
    with pytest.raises(OSError, match="broken"):
        asyncio.run(close_all(closers))
    assert (closed, closers) == (["third", "second", "first"], [])
