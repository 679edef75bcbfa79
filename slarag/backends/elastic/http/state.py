"""What a pool says about itself. It always answers, also while it is resized or a worker hangs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Any, Generic, TypeVar

from fastapi import FastAPI
from fastapi.responses import PlainTextResponse, Response

from ..cluster.cluster import Cluster
from .autoscale import Autoscaler
from .failures import REFUSALS
from .served import ServedPool

T = TypeVar("T")
Counts = Callable[[], Awaitable[list[tuple[int, int, int]]]]
"""Tokens by layer and expert so far."""
Gauges = Callable[[], dict[str, float]]
"""Values of this moment by name."""
_PATIENCE_S = 0.25


class LastKnown(Generic[T]):
    """What `ask` says, or said last when it takes longer than a moment; `value` before it ever answered."""

    def __init__(self, ask: Callable[[], Awaitable[T]], value: T) -> None:
        self._ask = ask
        self._value = value
        self._asking: asyncio.Task[None] | None = None

    async def get(self) -> T:
        """The value."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._update())
        await asyncio.wait({self._asking}, timeout=_PATIENCE_S)
        return self._value

    async def _update(self) -> None:
        try:
            self._value = await self._ask()
        except Exception:  # noqa: BLE001 - a pool that cannot be asked now is described by what it said before
            return


def add_state(
    app: FastAPI,
    engine: ServedPool,
    card: dict[str, Any],
    *,
    counts: Counts | None,
    autoscaler: Autoscaler | None,
    more_gauges: Gauges,
) -> None:
    """Add `/health`, `/load`, `/pool`, `/metrics` and `/v1/models`.

    card: the model's. counts: where it has experts. more_gauges: what its host knows of it.
    """
    memory = LastKnown[dict[str, Any]](lambda: _memory(engine.cluster), {})
    routed = None if counts is None else LastKnown(counts, list[tuple[int, int, int]]())

    @app.get("/health", response_class=Response, responses=REFUSALS)
    async def health() -> Response:  # pyright: ignore[reportUnusedFunction]
        """200 while it serves, 503 once it is told to stop or cannot be repaired."""
        return Response(status_code=503 if engine.is_draining or engine.cluster.is_broken else 200)

    @app.get("/load")
    async def load() -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """The queue now."""
        return {"model": card["id"], **_load(engine)}

    @app.get("/pool")
    async def pool() -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """Devices one by one, the last resizes, and what sizes it."""
        sized = {"autoscale": autoscaler and autoscaler.status(), "service_model": autoscaler and autoscaler.figures}
        return {**_load(engine), "model": card["id"], **_pool(engine, await memory.get()), **sized}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:  # pyright: ignore[reportUnusedFunction]
        """For Prometheus, under vLLM's names where it has one."""
        lines = [] if routed is None else _routed_lines(await routed.get())
        gauges = _gauges(engine) | _autoscale_gauges(autoscaler) | more_gauges()
        return PlainTextResponse(engine.metrics.text(gauges) + "".join(lines))

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """The one model."""
        return {"object": "list", "data": [card]}


def model_card(name: str, *, task: str, max_tokens: int) -> dict[str, Any]:
    """OpenAI's model entry. task: `generate` or `answer`. max_tokens: of a prompt, or of a window."""
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": "slarag",
        "max_model_len": max_tokens,
        "task": task,
    }


def _load(engine: ServedPool) -> dict[str, Any]:
    return {
        "devices": engine.size,
        "running": engine.running,
        "waiting": engine.waiting,
        "standbys": engine.cluster.standbys,
        "kv_cache_used": engine.cache_used,
        "seconds_per_passage": engine.seconds_per_passage,
        "replaced_workers": engine.cluster.replaced,
        "is_resizing": engine.resizing.status.is_running,
        "simulated": _simulated(engine.cluster),
    }


def _simulated(cluster: Cluster) -> str | None:
    """The accelerator that the devices behave as; None when they are what they are."""
    simulated = cluster.options.simulated
    return None if simulated is None else simulated.profile.name


async def _memory(cluster: Cluster) -> dict[str, Any]:
    return (await asyncio.to_thread(cluster.memory.client.usage))["devices"]


def _pool(engine: ServedPool, memory: dict[str, Any]) -> dict[str, Any]:
    placement = engine.cluster.placement
    rows: list[dict[str, Any]] = []
    for number, (running, waiting) in sorted(engine.loads.items()):
        held = memory.get(str(number), {})
        rows.append(
            {
                "device": number,
                "running": running,
                "waiting": waiting,
                "experts": len(placement.held_by(number)),
                "expert_copies": sum(number in devices for devices in placement.replicas.values()),
                "memory_bytes": held.get("resident"),
                "capacity_bytes": held.get("capacity"),
            }
        )
    now = [engine.resizing.status] if engine.resizing.status.is_running else []
    resizes = [asdict(status) for status in (*engine.resizing.history, *now)]
    rebalances = engine.metrics.rebalances
    deadlines = {"requests": engine.metrics.with_deadline, "met": engine.metrics.met_deadline}
    return {
        "epoch": placement.epoch,
        "workers": rows,
        "resizes": resizes,
        "deadlines": deadlines,
        "rebalances": rebalances,
    }


def _gauges(engine: ServedPool) -> dict[str, float]:
    return {
        "vllm:num_requests_running": engine.running,
        "vllm:num_requests_waiting": engine.waiting,
        "vllm:kv_cache_usage_perc": engine.cache_used,
        "slarag:devices": engine.size,
        "slarag:standbys": engine.cluster.standbys,
        "slarag:is_resizing": engine.resizing.status.is_running,
        "slarag:expert_copies": sum(map(len, engine.cluster.placement.replicas.values())),
        "slarag:placement_epoch": engine.cluster.placement.epoch,
        "slarag:is_simulated": engine.cluster.options.simulated is not None,
    }


def _autoscale_gauges(autoscaler: Autoscaler | None) -> dict[str, float]:
    if autoscaler is None:
        return {}
    status = autoscaler.status()
    known = {"target_devices": status["target"], "attainment": status["attainment"], "decisions": status["count"]}
    return {f"slarag:autoscale_{name}": value for name, value in known.items() if value is not None}


def _routed_lines(counts: list[tuple[int, int, int]]) -> list[str]:
    name = "slarag:routed_tokens_total"
    return [
        f"# TYPE {name} counter\n",
        *(f'{name}{{layer="{layer}",expert="{expert}"}} {tokens}\n' for layer, expert, tokens in counts),
    ]
