"""What an engine is put together from, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from slarag.sla.errors import RunError
from tests.engine.support import PASSAGES, QUESTION, engine
from tests.fakes import PassageList


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
