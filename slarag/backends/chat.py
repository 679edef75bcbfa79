"""Any LangChain chat model as a backend."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from ..sla.errors import BackendError, BackendTimeoutError, BackendUnavailableError, ConfigurationError
from .prompted.backend import PromptedBackend
from .prompted.completion import Completion, Prompt
from .prompted.threads import AbandonableThreads
from .protocol import BackendLoad, Price, Usage
from .wire.status import is_passing

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel
    from langchain_core.messages import AIMessage, BaseMessage


class ChatBackend(PromptedBackend):
    """Answers, verifies and generates with a LangChain chat model.

    model: any `BaseChatModel`; build it with `max_retries=0`, for retries belong to `RouterBackend`. name: for reports,
    the model's class by default. price: None makes its calls unpriced. threads: blocking calls at a time, for a model
    without an async method of its own; one that hangs keeps its thread, but not the caller, past the deadline.
    """

    def __init__(
        self, model: BaseChatModel, *, name: str | None = None, price: Price | None = None, threads: int = 16
    ) -> None:
        super().__init__(name=name or f"chat:{type(model).__name__}", price=price)
        retries = getattr(model, "max_retries", 0)
        if retries:
            warnings.warn(
                f"{type(model).__name__} retries by itself (max_retries={retries!r}), which hides failures from the "
                "router; build it with max_retries=0",
                stacklevel=2,
            )
        self._model = model
        self._threads = AbandonableThreads(threads)
        self._is_blocking = _is_blocking(model)
        self._limits_tokens = "max_tokens" in type(model).model_fields

    @classmethod
    def from_name(cls, name: str, *, price: Price | None = None, **settings: Any) -> ChatBackend:
        """The model `provider:model`, built by LangChain's `init_chat_model` with `settings` and without retries.

        Raises:
            ConfigurationError: the provider is unknown, its package is missing, or it refuses the settings.
        """
        try:
            return cls(_build(name, settings), name=name, price=price)
        except (ImportError, ValueError, TypeError) as error:
            raise ConfigurationError(
                f"chat model {name!r} cannot be built: {str(error).splitlines()[0]}",
                remedy="name it provider:model, and install the provider's package, such as langchain-openai",
            ) from error

    @property
    def model(self) -> BaseChatModel:
        """The LangChain model."""
        return self._model

    async def load(self) -> BackendLoad:
        """This process's calls; those that wait for a thread count as waiting."""
        own = await super().load()
        waiting = self._threads.waiting
        return BackendLoad(
            waiting=waiting, running=max(0, own.running - waiting), seconds_per_passage=own.seconds_per_passage
        )

    async def _complete(self, prompt: Prompt) -> Completion:
        limit: dict[str, Any] = {"max_tokens": prompt.max_tokens} if prompt.max_tokens and self._limits_tokens else {}
        try:
            message = await self._invoke(_messages(prompt), limit)
        except BackendError:
            raise
        except Exception as error:  # each provider raises classes of its own, with no common root
            raise self._failure(error) from error
        return Completion(text=str(message.text), usage=_usage(message), truncated=_is_truncated(message))

    async def _invoke(self, messages: list[BaseMessage], limit: dict[str, Any]) -> AIMessage:
        if self._is_blocking:
            return await self._threads.run(lambda: self._model.invoke(messages, **limit))
        return await self._model.ainvoke(messages, **limit)

    def _failure(self, error: Exception) -> BackendError:
        """The message leaves the provider's text out: it may hold parts of a key."""
        status = getattr(error, "status_code", None)
        what = type(error).__name__ + (f" (HTTP {status})" if isinstance(status, int) else "")
        if isinstance(error, TimeoutError) or "Timeout" in type(error).__name__:
            return BackendTimeoutError(f"backend {self.name!r} timed out: {what}", backend=self.name)
        return BackendUnavailableError(
            f"backend {self.name!r} failed: {what}",
            remedy="check the provider's status and the key in its environment variable",
            backend=self.name,
            retryable=not isinstance(status, int) or is_passing(status),
        )


def _build(name: str, settings: dict[str, Any]) -> BaseChatModel:
    """Built twice where the model's class knows `max_retries`: before the first we do not know the class."""
    from langchain.chat_models import init_chat_model

    model: BaseChatModel = init_chat_model(name, **settings)
    if "max_retries" in type(model).model_fields and settings.get("max_retries") != 0:
        settings = {**settings, "max_retries": 0}
        return init_chat_model(name, **settings)
    return model


def _is_blocking(model: BaseChatModel) -> bool:
    """Whether the class leaves `BaseChatModel`'s async method, which runs the blocking one in the loop's executor."""
    from langchain_core.language_models import BaseChatModel

    return type(model)._agenerate is BaseChatModel._agenerate  # pyright: ignore[reportPrivateUsage]


def _messages(prompt: Prompt) -> list[BaseMessage]:
    from langchain_core.messages import HumanMessage, SystemMessage

    system = [SystemMessage(prompt.system)] if prompt.system else []
    return [*system, HumanMessage(prompt.user)]


def _usage(message: AIMessage) -> Usage | None:
    reported = message.usage_metadata
    if reported is None:
        return None
    return Usage(input_tokens=reported["input_tokens"], output_tokens=reported["output_tokens"])


def _is_truncated(message: AIMessage) -> bool:
    metadata = message.response_metadata
    return (metadata.get("finish_reason") or metadata.get("stop_reason")) in {"length", "max_tokens", "MAX_TOKENS"}
