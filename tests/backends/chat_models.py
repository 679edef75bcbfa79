"""LangChain chat models for tests: honest, blocking, stalled, and scripted ones."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import PrivateAttr

from tests.backends.honest_model import reply_to


def chat_result(text: str, *, tokens: tuple[int, int] | None = (10, 5), finish: str = "stop") -> ChatResult:
    usage: Any = None
    if tokens is not None:
        usage = {"input_tokens": tokens[0], "output_tokens": tokens[1], "total_tokens": sum(tokens)}
    message = AIMessage(text, usage_metadata=usage, response_metadata={"finish_reason": finish})
    return ChatResult(generations=[ChatGeneration(message=message)])


class BlockingHonestModel(BaseChatModel):
    """Has only the blocking method."""

    @property
    def _llm_type(self) -> str:
        return "honest"

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        system = "".join(str(message.content) for message in messages[:-1])
        return chat_result(reply_to(system, str(messages[-1].content)))


class HonestModel(BlockingHonestModel):
    """Has an async method of its own."""

    async def _agenerate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **_: Any
    ) -> ChatResult:
        await asyncio.sleep(0)
        return self._generate(messages)


class StalledModel(HonestModel):
    """Never answers."""

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        await asyncio.Event().wait()
        raise AssertionError


class StubbornModel(HonestModel):
    """Ignores its cancellation until `release` is set."""

    _release: asyncio.Event = PrivateAttr(default_factory=asyncio.Event)

    async def _agenerate(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        while not self._release.is_set():
            try:
                await self._release.wait()
            except asyncio.CancelledError:
                continue
        return chat_result("late")


class BlockedModel(BlockingHonestModel):
    """Blocks its thread until `release` is set."""

    _release: threading.Event = PrivateAttr(default_factory=threading.Event)

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        self._release.wait()
        return chat_result("late")


class ScriptedModel(BaseChatModel):
    """Says what its queue holds, and keeps the messages and settings that it was sent."""

    max_tokens: int | None = None
    _queue: list[ChatResult | Exception] = PrivateAttr(default_factory=list)
    _sent: list[tuple[list[BaseMessage], dict[str, Any]]] = PrivateAttr(default_factory=list)

    @classmethod
    def saying(cls, *replies: str | ChatResult | Exception) -> ScriptedModel:
        model = cls()
        model._queue.extend(chat_result(reply) if isinstance(reply, str) else reply for reply in replies)
        return model

    @property
    def sent(self) -> Sequence[tuple[list[BaseMessage], dict[str, Any]]]:
        return self._sent

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **settings: Any) -> ChatResult:
        self._sent.append((messages, settings))
        reply = self._queue.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply
