"""From sequences to OpenAI's bodies, whole and streamed."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Literal

from ..errors import ElasticError
from ..serve.engine import PoolEngine
from ..serve.sequence import Output, Sequence

Kind = Literal["completion", "chat"]
_WATCH_SECONDS = 0.1
_FAILED = "generating this ended the workers that tried"


@dataclass(slots=True)
class _Collected:
    text: list[str] = field(default_factory=list[str])
    outputs: list[Output] = field(default_factory=list[Output])
    finish: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """The answers to one request. sequences: one per choice, in order of `index`; `copies` of them share a prompt."""

    engine: PoolEngine
    kind: Kind
    model: str
    sequences: list[Sequence]
    copies: int = 1
    number: str = field(default_factory=lambda: uuid.uuid4().hex)
    created: int = field(default_factory=lambda: int(time.time()))

    async def whole(self, is_gone: Callable[[], Any]) -> dict[str, Any]:
        """The body once all choices are done. `is_gone()` is awaited now and then: a client that left is not served."""
        watch = asyncio.create_task(self._watch(is_gone))
        try:
            collected = await asyncio.gather(*(self._collect(sequence) for sequence in self.sequences))
        finally:
            watch.cancel()
        if any(found.finish == "failed" for found in collected):
            raise ElasticError(_FAILED, remedy="ask again")
        choices = [self._whole_choice(index, found) for index, found in enumerate(collected)]
        return {
            **self._head("chat.completion" if self.kind == "chat" else "text_completion"),
            "choices": choices,
            "usage": self.usage(),
        }

    async def events(self, *, include_usage: bool) -> AsyncIterator[str]:
        """Server-sent events; closing the iterator cancels what still runs."""
        head = self._head("chat.completion.chunk" if self.kind == "chat" else "text_completion")
        sent: dict[int, int] = {}
        async with aclosing(self._merged()) as merged:
            async for index, output in merged:
                if output.finish == "failed":
                    detail = {"message": _FAILED, "type": "server_error", "param": None, "code": ElasticError.code}
                    yield _event({"error": detail})
                    break
                yield _event({**head, "choices": [self._streamed_choice(index, output, sent.get(index))]})
                sent[index] = sent.get(index, 0) + len(output.text)
        if include_usage:
            yield _event({**head, "choices": [], "usage": self.usage()})
        yield "data: [DONE]\n\n"

    def usage(self) -> dict[str, Any]:
        """OpenAI's token counts."""
        answer = sum(sequence.answer_tokens for sequence in self.sequences)
        # Copies share a prompt, which counts once, and so does what was cached of it.
        first = self.sequences[:: self.copies]
        prompt = sum(sequence.prompt_tokens for sequence in first)
        cached = sum(min(sequence.cached_tokens, sequence.prompt_tokens) for sequence in first)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "total_tokens": prompt + answer,
            "prompt_tokens_details": {"cached_tokens": cached},
        }

    def cancel(self) -> None:
        """Stop all choices."""
        for sequence in self.sequences:
            self.engine.finish(sequence, "cancelled")

    async def _watch(self, is_gone: Callable[[], Any]) -> None:
        while True:
            if await is_gone():
                self.cancel()
                return
            await asyncio.sleep(_WATCH_SECONDS)

    async def _collect(self, sequence: Sequence) -> _Collected:
        found = _Collected()
        async for output in self.engine.outputs_of(sequence):
            found.text.append(output.text)
            found.finish = output.finish
            if output.token is not None:
                found.outputs.append(output)
        return found

    async def _merged(self) -> AsyncGenerator[tuple[int, Output]]:
        queue: asyncio.Queue[tuple[int, Output]] = asyncio.Queue()

        async def forward(index: int, sequence: Sequence) -> None:
            async for output in self.engine.outputs_of(sequence):
                queue.put_nowait((index, output))

        tasks = [asyncio.create_task(forward(index, sequence)) for index, sequence in enumerate(self.sequences)]
        open_choices = len(tasks)
        try:
            while open_choices:
                index, output = await queue.get()
                open_choices -= output.finish is not None
                yield index, output
        finally:
            for task in tasks:
                task.cancel()
            self.cancel()

    def _head(self, kind: str) -> dict[str, Any]:
        prefix = "chatcmpl" if self.kind == "chat" else "cmpl"
        return {"id": f"{prefix}-{self.number}", "object": kind, "created": self.created, "model": self.model}

    def _whole_choice(self, index: int, found: _Collected) -> dict[str, Any]:
        text = "".join(found.text)
        content = {"message": {"role": "assistant", "content": text}} if self.kind == "chat" else {"text": text}
        return {
            "index": index,
            **content,
            "logprobs": self._logprobs(found.outputs, 0),
            "finish_reason": found.finish,
        }

    def _streamed_choice(self, index: int, output: Output, sent: int | None) -> dict[str, Any]:
        """sent: characters of the choice so far, None at its beginning."""
        role = {"role": "assistant"} if sent is None else {}
        content = {"delta": {**role, "content": output.text}} if self.kind == "chat" else {"text": output.text}
        logprobs = self._logprobs([output] if output.token is not None else [], sent or 0)
        return {"index": index, **content, "logprobs": logprobs, "finish_reason": output.finish}

    def _logprobs(self, outputs: list[Output], sent: int) -> dict[str, Any] | None:
        """sent: characters of the answer before `outputs`."""
        scored = [output for output in outputs if output.token is not None and output.logprob is not None]
        if not scored:
            return None
        name = self.engine.tokenizer.name_of
        if self.kind == "chat":
            return {"content": [self._chat_logprob(output) for output in scored]}
        return {
            "tokens": [name(output.token or 0) for output in scored],
            "token_logprobs": [output.logprob for output in scored],
            "top_logprobs": [{name(token): value for token, value in output.top} for output in scored],
            "text_offset": list(itertools.accumulate((len(o.text) for o in scored[:-1]), initial=sent)),
        }

    def _chat_logprob(self, output: Output) -> dict[str, Any]:
        def entry(token: int, value: float | None) -> dict[str, Any]:
            tokenizer = self.engine.tokenizer
            return {"token": tokenizer.name_of(token), "logprob": value, "bytes": list(tokenizer.bytes_of(token))}

        top = [entry(token, value) for token, value in output.top]
        return {**entry(output.token or 0, output.logprob), "top_logprobs": top}


def _event(body: dict[str, Any]) -> str:
    return f"data: {json.dumps(body, separators=(',', ':'))}\n\n"
