"""Any OpenAI-compatible server as a backend, over HTTP."""

from __future__ import annotations

import difflib
import json
import time
from dataclasses import replace

from ..sla.errors import ConfigurationError
from .deadlines import within
from .prompted.backend import PromptedBackend
from .prompted.completion import Completion, Prompt
from .protocol import BackendLoad, Price
from .wire.address import Address
from .wire.body import read_events, read_json
from .wire.chat_completions import ChatSettings, completion_of, completion_of_events, request_body
from .wire.metrics import LastPage, metric_sum
from .wire.server import Server

__all__ = ["ChatSettings", "OpenAIBackend"]

_PROBE = Prompt(
    user="Say hello.",
    schema={
        "type": "object",
        "properties": {"heeded": {"type": "boolean"}},
        "required": ["heeded"],
        "additionalProperties": False,
    },
    max_tokens=32,
)


class OpenAIBackend(PromptedBackend):
    """Answers, verifies and generates with one model of an OpenAI-compatible server (vLLM, llama.cpp, a hosted API).

    base_url: with or without its `/v1`. model: as `/v1/models` lists it. api_key_env: the environment variable that
    holds the key, read at each call; None sends none. price: None makes its calls unpriced; a price per device-second
    charges the call's wall time where the server does not report `usage.device_seconds`.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        name: str | None = None,
        api_key_env: str | None = None,
        price: Price | None = None,
        settings: ChatSettings | None = None,
    ) -> None:
        super().__init__(name=name or f"openai:{model}", price=price)
        self._server = Server(Address.parse(base_url), backend=self.name, api_key_env=api_key_env)
        self._model = model
        self._settings = settings or ChatSettings()
        self._queue = LastPage()

    def __repr__(self) -> str:
        return f"OpenAIBackend({self._server!r}, model={self._model!r})"

    async def connect(self, timeout_s: float = 10.0) -> OpenAIBackend:
        """Check that the server has the model and, with `json_schema`, that it heeds a schema; returns this backend.

        Servers such as vLLM accept fields that they do not know, so the schema is tried with one short request.

        Raises:
            ConfigurationError: it has no such model, or ignores schemas.
            BackendError: it cannot be reached in time, or replied something else.
        """
        await within(self._check_model(), timeout_s, self.name)
        if self._settings.json_schema:
            await within(self._check_schema(), timeout_s, self.name)
        return self

    async def load(self) -> BackendLoad:
        """The server's queue, from vLLM's `/metrics`; zeros where it has none.

        A server that is slow to tell, or has no such page, is asked again after a pause that doubles up to a minute;
        until then its last page stands, while that is not older than half a minute.
        """
        own = await super().load()
        page = await self._queue.get(lambda: self._server.page("metrics", self._settings.metrics_timeout_s))
        return BackendLoad(
            waiting=int(metric_sum(page, "vllm:num_requests_waiting")),
            running=int(metric_sum(page, "vllm:num_requests_running")),
            seconds_per_passage=own.seconds_per_passage,
        )

    async def aclose(self) -> None:
        """Close the connections of this event loop; the backend opens new ones if it is called again."""
        await self._server.aclose()

    async def _complete(self, prompt: Prompt) -> Completion:
        body = request_body(prompt, self._model, self._settings)
        began = time.monotonic()
        async with self._server.sent("POST", self._server.address.api("chat/completions"), body) as response:
            if self._settings.stream:
                completion = await completion_of_events(read_events(response))
            else:
                completion = completion_of(await read_json(response))
        return self._with_device_time(completion, time.monotonic() - began)

    def _with_device_time(self, completion: Completion, elapsed_s: float) -> Completion:
        usage = completion.usage
        is_rented = self._price is not None and self._price.usd_per_device_second > 0
        if usage is None or usage.device_seconds or not is_rented:
            return completion
        return replace(completion, usage=replace(usage, device_seconds=elapsed_s))

    async def _check_model(self) -> None:
        async with self._server.sent("GET", self._server.address.api("models")) as response:
            listed = await read_json(response)
        rows = listed.get("data")
        names = [str(row.get("id")) for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        if self._model not in names:
            near = difflib.get_close_matches(self._model, names, n=1) or names[:5]
            raise ConfigurationError(
                f"{self._server.address.root} has no model {self._model!r}",
                remedy=f"use {', '.join(near) or 'another server'}",
            )

    async def _check_schema(self) -> None:
        completion = await self._complete(_PROBE)
        try:
            heeded = set(json.loads(completion.text)) == {"heeded"}
        except (ValueError, TypeError):
            heeded = False
        if not heeded:
            raise ConfigurationError(
                f"{self._server.address.root} ignores response_format",
                remedy="set json_schema=False; replies are read strictly either way",
            )
