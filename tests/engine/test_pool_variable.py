"""Engines read on the pool that the environment names."""

from __future__ import annotations

import pytest

from slarag import Engine
from slarag.assembly import POOL_VARIABLE
from slarag.sla.errors import SlaragError
from tests.engine.support import PASSAGES
from tests.fakes import PassageList, ScriptedBackend, reading


def _retriever() -> PassageList:
    return PassageList(PASSAGES, {passage.document_id: passage.text for passage in PASSAGES})


def test_the_pool_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(POOL_VARIABLE, "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(SlaragError, match=r"127\.0\.0\.1:9"):
        Engine.open(_retriever())


def test_a_backend_that_is_given_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(POOL_VARIABLE, "http://127.0.0.1:9")
    with Engine.open(_retriever(), backend=ScriptedBackend(reading())) as engine:
        decision = engine.explain("Who built it?")
    assert not any(prediction.plan.compute_budget < 1 for prediction in (*decision.feasible, *decision.rejected))
