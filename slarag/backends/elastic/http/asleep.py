"""What a pool without devices says of itself, and how it is told to have none."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import Field, ValidationError
from starlette.responses import JSONResponse, PlainTextResponse, Response

from ..device_layout import DeviceLayout
from ..serve.resizing import ResizeStatus
from .autoscale import Autoscaler
from .failures import failure
from .schemas import ScaleBody

RETRY_SECONDS = "1"


class AnySizeBody(ScaleBody):
    """`POST /scale_elastic_ep` of a pool that may sleep: 0 devices are a size as well."""

    new_data_parallel_size: int = Field(ge=0, lt=2**31)


class BodyError(Exception):
    """A body that cannot be; errors are as pydantic lists them, from `body` on."""

    def __init__(self, errors: Sequence[Any]) -> None:
        super().__init__(str(errors))
        self.errors = errors


def scale_body(raw: bytes) -> AnySizeBody:
    """The body of a call to scale; raises `BodyError`."""
    try:
        return AnySizeBody.model_validate(json.loads(raw))
    except ValidationError as error:
        raise BodyError([{**each, "loc": ("body", *each["loc"])} for each in error.errors()]) from None
    except (ValueError, RecursionError) as error:
        at = error.pos if isinstance(error, json.JSONDecodeError) else 0
        raise BodyError([{"type": "json_invalid", "loc": ("body", at), "ctx": {"error": str(error)}}]) from None


@dataclass(slots=True)
class Asleep:
    """What is known of a pool without starting it.

    card: its model's entry. layout: of its devices, for what it would read. autoscaler: what sizes it. description: its
    OpenAPI document, once it was there. history: its last resizes, with those to and from nothing. status: the last one
    that was not the pool's own. cold_start_s: how long its last start took.
    """

    card: dict[str, Any] | None
    layout: DeviceLayout | None
    autoscaler: Autoscaler | None
    history: deque[ResizeStatus]
    description: dict[str, Any] | None = None
    status: ResizeStatus | None = None
    cold_start_s: float | None = None

    def look(self, path: str, *, waiting: int, is_changing: bool) -> Response:
        """The answer to a GET. waiting: requests for work, which start it. is_changing: it starts or ends."""
        load = self._load(waiting, is_changing)
        answers: dict[str, Callable[[], Response | None]] = {
            "/health": Response,
            "/metrics": lambda: PlainTextResponse(self._metrics(waiting, is_changing)),
            "/load": lambda: JSONResponse(load),
            "/pool": lambda: JSONResponse(load | self._pool()),
            "/v1/models": lambda: JSONResponse({"object": "list", "data": [self.card]}) if self.card else None,
            "/openapi.json": lambda: JSONResponse(self.description) if self.description else None,
        }
        return answers.get(path, _unknown)() or _unknown()

    def refusal_of(self, devices: int) -> Response | None:
        """Why a pool of so many devices cannot be; None where it can."""
        most = None if self.layout is None else self.layout.max_devices
        if most is None or devices <= most:
            return None
        message = f"a pool of {devices} devices cannot be; ask for 1 to {most} devices"
        return failure(400, message, "invalid_request_error", param="new_data_parallel_size")

    def plan(self, source: int, target: int) -> Response:
        """The answer to a dry run from or to no device: what is read from disk, and how long that took last time."""
        layout, read = self.layout, 0
        if layout is not None and not source and target:
            experts = len(layout.config.sparse_layers) * layout.config.num_experts
            read = experts * layout.expert_bytes + target * layout.shared_bytes
        predicted: dict[str, Any] = dict.fromkeys(("capacity_factor", "wait_s_now", "wait_s_then", "wait_s_saved"))
        body = {
            "joining": 0 if source else target,
            "leaving": source,
            "moved_experts": 0,
            "bytes_to_move": read,
            "bytes_lower_bound": read,
            "predicted": predicted | {"resize_s": self.cold_start_s if target and not source else None},
        }
        return JSONResponse(body)

    def _pool(self) -> dict[str, Any]:
        resizes = [asdict(status) for status in self.history]
        return {"workers": [], "resizes": resizes, "autoscale": self.autoscaler and self.autoscaler.status()}

    def _load(self, waiting: int, is_changing: bool) -> dict[str, Any]:
        return {
            "model": self.card and self.card["id"],
            "devices": 0,
            "running": 0,
            "waiting": waiting,
            "standbys": 0,
            "kv_cache_used": 0.0,
            "seconds_per_passage": None,
            "replaced_workers": 0,
            "is_resizing": is_changing,
            "simulated": None,
        }

    def _metrics(self, waiting: int, is_changing: bool) -> str:
        gauges = {
            "vllm:num_requests_running": 0,
            "vllm:num_requests_waiting": waiting,
            "slarag:devices": 0,
            "slarag:is_resizing": is_changing,
            "slarag:cold_start_seconds": self.cold_start_s or 0.0,
        }
        return "".join(f"# TYPE {name} gauge\n{name} {value:g}\n" for name, value in gauges.items())


def _unknown() -> Response:
    reply = failure(503, "the pool has no device now; a request starts it", "overloaded")
    reply.headers["Retry-After"] = RETRY_SECONDS
    return reply
