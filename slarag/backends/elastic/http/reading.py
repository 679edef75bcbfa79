"""A reader's paths: spans that answer, with probabilities, and OpenAI's completions made of them."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import Coroutine, Iterator
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from ...protocol import Candidate
from ..errors import BusyError, RequestError
from ..serve.reading import Answered, Question, ReadingEngine
from .failures import REFUSALS
from .generation import check_model, tokenized
from .reading_schemas import AnswersBody, SpanCompletionBody, numbered
from .schemas import TokenizeBody, stop_texts

T = TypeVar("T")
_WATCH_SECONDS = 0.1
_MOST_CANDIDATES = 1000


def add_reading(app: FastAPI, engine: ReadingEngine, model: str, max_tokens: int) -> None:
    """Add `/v1/answers`, `/v1/completions` and `/tokenize`. model: the name that clients may give."""

    @app.post("/v1/answers", responses=REFUSALS)
    async def answers(body: AnswersBody, request: Request) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        """The spans of the passages that answer the question, and what the passages say of it as a claim."""
        check_model(body.model, model)
        answered = await _unless_gone(request, engine.answer(body.to_question()))
        return JSONResponse({**_head("answer", model), **_answer_body(answered), "usage": _usage(answered)})

    @app.post("/v1/completions", responses=REFUSALS)
    async def completions(body: SpanCompletionBody, request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """The best spans for a prompt that ends in a question."""
        check_model(body.model, model)
        answered = await _unless_gone(request, engine.answer(_question_of(body)))
        choices = _choices(engine, answered, body)
        head, usage = _head("text_completion", model), _usage(answered)
        if not body.stream:
            return JSONResponse({**head, "choices": choices, "usage": usage})
        include_usage = body.stream_options is not None and body.stream_options.include_usage
        return StreamingResponse(
            _events(head, choices, usage if include_usage else None), media_type="text/event-stream"
        )

    @app.post("/tokenize", responses=REFUSALS)
    async def tokenize(body: TokenizeBody) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """Text to tokens, without the ones that frame a window if they are not asked for."""
        check_model(body.model, model)
        if body.prompt is None or body.messages is not None:
            raise RequestError("a reader has no chat", remedy="give a `prompt`", param="messages")
        encoded = await asyncio.to_thread(engine.encode, body.prompt, framed=bool(body.add_special_tokens))
        return tokenized(encoded.ids, max_tokens, encoded.tokens if body.return_token_strs else None)


async def _unless_gone(request: Request, call: Coroutine[Any, Any, T]) -> T:
    """The result of `call`; it is called off when the client leaves, whom nobody answers then."""
    task = asyncio.ensure_future(call)
    try:
        while not (await asyncio.wait({task}, timeout=_WATCH_SECONDS))[0]:
            if await request.is_disconnected():
                raise BusyError("the client left")
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


def _head(kind: str, model: str) -> dict[str, Any]:
    return {"id": f"{kind}-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


def _answer_body(answered: Answered) -> dict[str, Any]:
    combined = answered.combined
    supports = [_support(reading.support) for reading in answered.readings]
    passages = zip(combined.answerability.values(), supports, strict=True)
    return {
        "candidates": [_candidate(candidate) for candidate in combined.candidates],
        "no_answer": combined.no_answer,
        "support": min(supports, key=lambda s: s["not_enough"], default=_support((0.0, 0.0, 1.0))),
        "passages": [{"answerability": share, "support": support} for share, support in passages],
    }


def _candidate(candidate: Candidate) -> dict[str, Any]:
    spans = [{"passage": int(span.passage_id), "start": span.start, "end": span.end} for span in candidate.spans]
    return {"text": candidate.text, "probability": candidate.probability, "spans": spans}


def _support(values: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip(("supported", "refuted", "not_enough"), values, strict=True))


def _usage(answered: Answered) -> dict[str, Any]:
    return {
        "prompt_tokens": answered.tokens,
        "completion_tokens": 0,
        "total_tokens": answered.tokens,
        "prompt_tokens_details": {"cached_tokens": answered.cached_tokens},
        "cached_readings": answered.cached_readings,
        "device_seconds": answered.device_seconds,
        "compute_spent": answered.compute_spent,
    }


def _question_of(body: SpanCompletionBody) -> Question:
    prompt = body.text.strip().removesuffix("Answer:").rstrip()
    before, marker, question = prompt.rpartition("Question:")
    if not marker:
        before, _, question = prompt.rpartition("\n\n")
    passages = [part.strip() for part in before.split("\n\n") if part.strip()]
    if not passages or not question.strip():
        raise RequestError(
            "the prompt holds no passage and question",
            remedy="write passages, a blank line, and the question",
            param="prompt",
        )
    return Question(
        text=question.strip(),
        passages=numbered(passages),
        n_best=_MOST_CANDIDATES,
        priority=body.priority,
        deadline=body.deadline,
        compute_budget=body.compute_budget,
        compute_floor=body.compute_floor,
    )


def _choices(engine: ReadingEngine, answered: Answered, body: SpanCompletionBody) -> list[dict[str, Any]]:
    """The best spans of at most `max_tokens`, up to the first stop text; one empty choice where there is none."""
    found = answered.combined.candidates
    short = [candidate for candidate in found if len(engine.tokenize(candidate.text)) <= body.max_tokens][: body.n]
    stops = stop_texts(body.stop)
    rows = [{"text": _before(candidate.text, stops), "answer": _candidate(candidate)} for candidate in short]
    rows = rows or [{"text": "", "answer": None}]
    return [{"index": at, **row, "logprobs": None, "finish_reason": "stop"} for at, row in enumerate(rows)]


def _before(text: str, stops: tuple[str, ...]) -> str:
    return text[: min((at for stop in stops if (at := text.find(stop)) >= 0), default=len(text))]


def _events(head: dict[str, Any], choices: list[dict[str, Any]], usage: dict[str, Any] | None) -> Iterator[str]:
    bodies = [{**head, "choices": [choice]} for choice in choices]
    if usage is not None:
        bodies.append({**head, "choices": [], "usage": usage})
    for body in bodies:
        yield f"data: {json.dumps(body, separators=(',', ':'))}\n\n"
    yield "data: [DONE]\n\n"
