"""The engine as a LangChain Runnable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_core.runnables import RunnableLambda

from .sla.answer import Answer
from .sla.errors import QuestionError

if TYPE_CHECKING:
    from .engine import Engine

_ARGUMENTS = ("question", "profile", "plan", "passages", "intent")


def runnable(engine: Engine) -> RunnableLambda[str | dict[str, Any], Answer]:
    """`invoke`, `batch`, `stream` and their asynchronous forms over `engine`."""

    def ask(asked: str | dict[str, Any]) -> Answer:
        return engine.ask(**_arguments(asked))

    async def aask(asked: str | dict[str, Any]) -> Answer:
        return await engine.aask(**_arguments(asked))

    return RunnableLambda(ask, afunc=aask, name="slarag")


def _arguments(asked: str | dict[str, Any]) -> dict[str, Any]:
    if isinstance(asked, str):
        return {"question": asked}
    if not isinstance(asked, Mapping):
        raise QuestionError(
            f"the question is of type {type(asked).__name__}", remedy=f"give a str, or a mapping with {_ARGUMENTS[0]!r}"
        )
    unknown = sorted(set(asked) - set(_ARGUMENTS))
    if "question" not in asked or unknown:
        raise QuestionError(
            f"a mapping with the keys {sorted(asked)} is not a question",
            remedy=f"use 'question' and of {_ARGUMENTS[1:]}",
        )
    return asked
