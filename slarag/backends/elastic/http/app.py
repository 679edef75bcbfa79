"""The FastAPI application over a running pool."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from ...reader.windows import MAX_WINDOW_TOKENS
from ..cluster.options import PoolOptions
from ..cluster.reader_options import ReaderOptions
from ..serve.engine import PoolEngine
from ..serve.reading import ReadingEngine
from .autoscale import Autoscaler
from .control import add_control
from .failures import add_failures
from .generation import add_generation
from .guard import Guard
from .reading import add_reading
from .state import Counts, Gauges, add_state, model_card


def build_app(
    engine: PoolEngine | ReadingEngine,
    *,
    model: str,
    token: str | None,
    autoscaler: Autoscaler | None = None,
    more_gauges: Gauges = dict,
) -> FastAPI:
    """The application. model: the name that clients may give. token: what control calls must bear, None refuses all.

    autoscaler: who sizes it, for its state. more_gauges: further ones for `/metrics`.
    """
    app = FastAPI(title="slarag pool", docs_url=None, redoc_url=None)
    app.add_middleware(Guard, token=token)
    add_failures(app)
    card = card_of(engine.cluster.options, model)
    if isinstance(engine, ReadingEngine):
        add_state(app, engine, card, counts=None, autoscaler=autoscaler, more_gauges=more_gauges)
        add_reading(app, engine, model, MAX_WINDOW_TOKENS)
    else:
        add_state(app, engine, card, counts=_counts(engine), autoscaler=autoscaler, more_gauges=more_gauges)
        add_generation(app, engine, model)
    add_control(app, engine)
    return app


def card_of(options: PoolOptions, model: str) -> dict[str, Any]:
    """The entry of a pool's model in `/v1/models`, known before the pool is there; raises what its layout does."""
    if isinstance(options, ReaderOptions):
        from ...reader.store import reads_within_budget

        card = model_card(model, task="answer", max_tokens=MAX_WINDOW_TOKENS)
        return card | {"reads_within_budget": reads_within_budget(options.model)}
    return model_card(model, task="generate", max_tokens=options.layout().max_tokens)


def _counts(engine: PoolEngine) -> Counts:
    async def read() -> list[tuple[int, int, int]]:
        table = (await engine.routing_counts()).tolist()
        layers = engine.cluster.layout.config.sparse_layers
        return [
            (layer, expert, tokens)
            for layer, row in zip(layers, table, strict=True)
            for expert, tokens in enumerate(row)
        ]

    return read
