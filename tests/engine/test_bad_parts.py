"""Backends and retrievers that break their contract end a question with an error that names them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from slarag.backends.protocol import AnswerRequest, AnswerResult, VerifyRequest
from slarag.sla.errors import BackendReplyError, RunError, SlaragError
from slarag.sla.plan import Plan
from tests.engine.support import PASSAGES, QUESTION, engine
from tests.fakes import PassageList, ScriptedBackend, quote, reading

CANDIDATE = quote(PASSAGES[0], "Mara Quill", 0.8)


@pytest.mark.parametrize(
    ("result", "words"),
    [
        ({"text": "Mara Quill"}, "a dict, not a AnswerResult"),
        (None, "a NoneType, not a AnswerResult"),
        (reading(CANDIDATE, usd=-1.0), "the price -1.0"),
        (reading(CANDIDATE, usd=float("nan")), "the price nan"),
        (reading(replace(CANDIDATE, spans=())), "no text or no span"),
        (reading(replace(CANDIDATE, text=" ")), "no text or no span"),
        (reading(replace(CANDIDATE, text=None)), "no text or no span"),  # type: ignore[arg-type]
    ],
)
@pytest.mark.parametrize("question", [QUESTION, "Which leans, the tower of Alder or the mill of Birch?"])
def test_an_answer_that_is_none_is_refused(question: str, result: Any, words: str) -> None:
    async def answer(request: AnswerRequest) -> AnswerResult:
        return result

    with engine(ScriptedBackend(answer)) as asked, pytest.raises(BackendReplyError, match=f"'scripted' gave.*{words}"):
        asked.ask(question)


def test_a_judgement_that_is_none_is_refused_and_the_answer_stays() -> None:
    class Silent(ScriptedBackend):
        async def verify(self, request: VerifyRequest) -> Any:
            self.verified.append(request)

    model = Silent(reading(CANDIDATE))
    with engine(model) as asked:
        assert asked.ask(QUESTION, plan=Plan(verification="support")).best_text == "Mara Quill"
    assert len(model.verified) == 1


@pytest.mark.parametrize("found", [None, ["a text"], 7])
def test_passages_that_are_none_are_the_retrievers_failure(found: Any) -> None:
    class Odd(PassageList):
        async def retrieve(self, *args: Any, **kwargs: Any) -> Any:
            return found

    with engine(retriever=Odd(PASSAGES)) as asked, pytest.raises(RunError, match="the retriever failed in hop 1"):
        asked.ask(QUESTION)


def test_a_source_that_cannot_be_had_is_the_retrievers_failure() -> None:
    class Forgetful(PassageList):
        def source_text(self, document_id: str) -> str | None:
            raise KeyError(document_id)

    words = "failed to give the text of 'd00': KeyError"
    with (
        engine(ScriptedBackend(reading(CANDIDATE)), retriever=Forgetful(PASSAGES)) as asked,
        pytest.raises(SlaragError, match=words),
    ):
        asked.ask(QUESTION)
