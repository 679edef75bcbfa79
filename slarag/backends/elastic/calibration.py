"""The service model of a pool that has just started: what its steps and its resizes take on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

from ...sla.evidence import Passage
from ..pool.service import ServiceModel
from .errors import ResizeError
from .measured_steps import measure_steps
from .models.reader import ReaderLayout
from .roofline import ProfiledCost
from .serve.engine import PoolEngine
from .serve.reading import Question, ReadingEngine

_LONGEST_PROMPT = 128
_BATCHES = (1, 4)
_ANSWER_ROOM = 48
_GUESSED_PROMPT, _GUESSED_ANSWER, _GUESSED_WINDOW = 600.0, 200.0, 200.0
_LOOKS, _POLL_S = 200, 0.05
_PASSAGES = 8
_PASSAGE = "The bridge over the river was built by the town of Weir in the year that the mill was closed. " * 8


async def calibrated_model(engine: PoolEngine | ReadingEngine) -> ServiceModel:
    """Measure an idle pool for a few seconds, a resize up and back included; then it counts from zero again.

    Simulated devices are not measured: what they cost is known.
    """
    limits: dict[str, Any] = {"max_batch_tokens": engine.cluster.options.max_batch_tokens, **await _switching(engine)}
    simulated = engine.cluster.options.simulated
    if isinstance(engine, ReadingEngine):
        model = await _of_reader(engine, limits) if simulated is None else _of_simulated_reader(engine, limits)
    elif simulated is not None:
        model = _of_simulated(engine, limits)
    else:
        model = await _of_generator(engine, limits)
    engine.metrics.reset()
    return model


async def _switching(engine: PoolEngine | ReadingEngine) -> dict[str, float]:
    """Seconds of a resize by one device up, and back, the quicker of two; none where the pool has no room for one."""
    size, ups, downs = engine.size, list[float](), list[float]()
    with contextlib.suppress(ResizeError):
        for _ in range(2):
            await _standby(engine)
            ups.append((await engine.resize(size + 1)).seconds)
            downs.append((await engine.resize(size)).seconds)
    return {"scale_up_s": min(ups), "scale_down_s": min(downs)} if downs else {}


async def _standby(engine: PoolEngine | ReadingEngine) -> None:
    """Wait for a standby to boot, for a while: a resize in service mostly finds one."""
    for _ in range(_LOOKS if engine.cluster.options.standbys else 0):
        if engine.cluster.standbys:
            return
        await asyncio.sleep(_POLL_S)


async def _of_reader(engine: ReadingEngine, limits: dict[str, Any]) -> ServiceModel:
    """A reading is one step: its whole answer is there with its end."""
    tokens, seconds = list[int](), list[float]()
    for count in (1, _PASSAGES):
        engine.forget()
        passages = tuple(
            Passage(passage_id=str(k), document_id="calibration", text=f"{k} {_PASSAGE}") for k in range(count)
        )
        started = time.monotonic()
        answered = await engine.answer(Question(text="Who built the bridge?", passages=passages))
        seconds.append(time.monotonic() - started)
        tokens.append(answered.tokens)
    engine.forget()
    per_token = max(1e-9, (seconds[1] - seconds[0]) / max(1, tokens[1] - tokens[0]) * engine.size)
    base = max(0.0, seconds[0] - tokens[0] * per_token)
    return ServiceModel(prefill_tokens_per_s=1 / per_token, step_base_s=base, step_per_answer_s=0.0, **limits)


def _of_simulated_reader(engine: ReadingEngine, limits: dict[str, Any]) -> ServiceModel:
    from .reading_cost import ReadingCost, ReadingWork

    device, layout = engine.cluster.options.simulated, engine.cluster.layout
    assert device is not None
    assert isinstance(layout, ReaderLayout)
    return ServiceModel(cost=ReadingCost(device=device, work=ReadingWork(layout), window=_GUESSED_WINDOW), **limits)


def _of_simulated(engine: PoolEngine, limits: dict[str, Any]) -> ServiceModel:
    options, layout = engine.cluster.options, engine.cluster.layout
    assert options.simulated is not None
    cost = ProfiledCost(
        device=options.simulated,
        config=layout.config,
        dtype=layout.dtype,
        prompt_tokens=_GUESSED_PROMPT,
        context_tokens=_GUESSED_PROMPT + _GUESSED_ANSWER / 2,
    )
    return ServiceModel(cost=cost, max_sequences=options.max_sequences, **limits)


async def _of_generator(engine: PoolEngine, limits: dict[str, Any]) -> ServiceModel:
    options, layout = engine.cluster.options, engine.cluster.layout
    room = layout.max_tokens - _ANSWER_ROOM
    longest = max(4, min(_LONGEST_PROMPT, room, options.max_batch_tokens - max(_BATCHES)))
    prompts = (max(1, longest // 8), max(2, longest // 2), longest)
    samples = await measure_steps(engine, prompts=prompts, batches=_BATCHES, rounds=1)
    return ServiceModel.fit(samples, max_sequences=options.max_sequences, **limits)
