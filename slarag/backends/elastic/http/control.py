"""The control plane: vLLM's calls to scale elastic expert parallelism, with a plan, an operation id and a history."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import FastAPI, Security
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer

from ..cluster.plan import ResizePlan
from ..errors import ResizeError
from ..serve.demand import predicted_benefit
from ..serve.resizing import ResizeStatus
from .failures import REFUSALS, failure
from .schemas import ScaleBody
from .served import ServedPool

_NeedsToken = Annotated[object, Security(HTTPBearer(auto_error=False, description="The pool's control token."))]
"""For the description only: the guard has let nobody without the token through to here."""


def add_control(app: FastAPI, engine: ServedPool) -> None:
    """Add `/scale_elastic_ep` and `/is_scaling_elastic_ep`."""

    @app.post("/scale_elastic_ep", responses=REFUSALS)
    async def scale(body: ScaleBody, _: _NeedsToken) -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        """Serve on as many devices; returns when it does. With `dry_run`, what that would move and bring.

        408 when it takes longer than `drain_timeout`; the resize goes on then.
        """
        size = body.new_data_parallel_size
        try:
            plan = engine.plan(size)
        except ResizeError as error:
            return failure(400, str(error), "invalid_request_error", param="new_data_parallel_size")
        if body.dry_run:
            return JSONResponse(_plan_body(engine, plan))
        if body.standbys is not None:
            engine.cluster.keep_standbys(body.standbys)
        try:
            async with asyncio.timeout(body.drain_timeout):
                await engine.resize(size, operation_id=body.operation_id)
        except TimeoutError:
            message = f"not on {size} devices after {body.drain_timeout:g} seconds; the resize goes on"
            return failure(408, message, "timeout", param="drain_timeout")
        except ResizeError as error:
            return failure(409, str(error), "resize_failed", code=error.code)
        return JSONResponse({"message": f"Scaled to {size} data parallel engines"})

    @app.post("/is_scaling_elastic_ep", responses=REFUSALS)
    async def is_scaling(_: _NeedsToken) -> dict[str, Any]:  # pyright: ignore[reportUnusedFunction]
        """The last resize."""
        return status_body(engine.resizing.status, size=engine.size, epoch=engine.cluster.placement.epoch)


def status_body(status: ResizeStatus, *, size: int, epoch: int) -> dict[str, Any]:
    """The answer to `/is_scaling_elastic_ep`."""
    return {
        "is_scaling_elastic_ep": status.is_running,
        "phase": status.phase,
        "epoch": epoch,
        "size": size,
        "target": status.target,
        "operation_id": status.operation_id,
        "error": status.error,
        "seconds": status.seconds,
        "bytes_moved": status.bytes_moved,
        "bytes_lower_bound": status.bytes_lower_bound,
    }


def _plan_body(engine: ServedPool, plan: ResizePlan) -> dict[str, Any]:
    return {
        "joining": len(plan.joining),
        "leaving": len(plan.leaving),
        "moved_experts": len(plan.moves),
        "bytes_to_move": plan.bytes_to_move,
        "bytes_lower_bound": plan.bytes_lower_bound,
        "predicted": predicted_benefit(engine.demand, plan, engine.resizing),
    }
