"""A running pool of readers as a backend, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from ..sla.calibration import USD_PER_DEVICE_SECOND
from ..sla.errors import (
    BackendReplyError,
    BackendTimeoutError,
    BackendUnavailableError,
    ConfigurationError,
)
from ..sla.evidence import Passage, Span
from .deadlines import within
from .protocol import (
    AnswerRequest,
    AnswerResult,
    BackendLoad,
    Candidate,
    Capability,
    GenerateRequest,
    GenerateResult,
    Price,
    Usage,
    VerifyRequest,
    VerifyResult,
    seconds_left,
)
from .wire.address import Address
from .wire.body import read_json
from .wire.server import Server

__all__ = ["PoolBackend"]

DEFAULT_PRICE = Price(usd_per_device_second=USD_PER_DEVICE_SECOND)
_GATEWAY_TIMEOUT = 504
_MOST_CANDIDATES = 50
_LONGEST_MS = 86_400_000.0
"""The longest time that a pool is told; who allows more waits no longer for a reading."""


class PoolBackend:
    """Answers and verifies on a pool that `slarag pool serve` started.

    base_url: of the pool, with or without `/v1`. price: by the device time that the pool reports; None makes its calls
    unpriced. load_timeout_s: how long `load` waits.
    """

    def __init__(
        self,
        base_url: str,
        *,
        name: str = "pool",
        price: Price | None = DEFAULT_PRICE,
        load_timeout_s: float = 0.08,
    ) -> None:
        self._name = name
        self._price = price
        self._load_timeout_s = load_timeout_s
        self._reads_within_budget = False
        self._server = Server(Address.parse(base_url), backend=name)

    def __repr__(self) -> str:
        return f"PoolBackend({self._server.address.root!r})"

    @property
    def name(self) -> str:
        """The name given."""
        return self._name

    @property
    def price(self) -> Price | None:
        """The price given."""
        return self._price

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Its readers answer and verify; they write nothing of their own."""
        return frozenset({"answer", "verify"})

    @property
    def reads_within_budget(self) -> bool:
        """Whether the pool's reader keeps to a request's compute budget; known once connected."""
        return self._reads_within_budget

    async def connect(self, timeout_s: float = 10.0) -> PoolBackend:
        """Check that there is a pool of readers; returns this backend.

        Raises:
            ConfigurationError: something else is served there.
            BackendError: it cannot be reached in time.
        """
        listed = await within(self._models(), timeout_s, self._name)
        rows = listed.get("data")
        cards = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
        readers = [card for card in cards if card.get("task") == "answer"]
        self._reads_within_budget = any(card.get("reads_within_budget") is True for card in readers)
        if not readers:
            raise ConfigurationError(
                f"{self._server.address.root} serves no reader",
                remedy="start one with: slarag pool serve; for a model that writes use OpenAIBackend",
            )
        return self

    async def answer(self, request: AnswerRequest) -> AnswerResult:
        """See `Backend.answer`; without passages the answer is that there is none, and no call is made."""
        left = seconds_left(request.deadline, self._name)
        if not request.passages:
            return AnswerResult(candidates=(), no_answer=1.0, usd=self._usd(Usage()))
        fields = {"kind": request.kind, "n_best": min(request.n_best, _MOST_CANDIDATES), **_compute(request)}
        reply = await self._ask(request.question, request.passages, left, fields)
        try:
            return self._answer_of(reply, request.passages)
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise self._misread(error) from error

    async def verify(self, request: VerifyRequest) -> VerifyResult:
        """See `Backend.verify`; without evidence there is not enough, and no call is made."""
        left = seconds_left(request.deadline, self._name)
        if not request.evidence:
            return VerifyResult(supported=0.0, refuted=0.0, not_enough=1.0, usd=self._usd(Usage()))
        claim = f"{request.question.strip()} {request.answer.strip()}".strip()
        reply = await self._ask(claim, request.evidence, left, {"n_best": 1, **_compute(request)})
        try:
            usage = _usage_of(reply)
            return VerifyResult(**_support_of(reply["support"]), usage=usage, usd=self._usd(usage))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise self._misread(error) from error

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        """Not among its capabilities: raises `BackendUnavailableError`."""
        raise BackendUnavailableError(
            f"backend {self._name!r} reads, it does not write", remedy="use a chat model for free text"
        )

    async def load(self) -> BackendLoad:
        """The pool's queue and devices; raises `BackendUnavailableError` when it does not say."""
        page = await self._server.page("load", self._load_timeout_s)
        try:
            told: dict[str, Any] = json.loads(page or "")
            seconds = told.get("seconds_per_passage")
            return BackendLoad(
                waiting=int(told["waiting"]),
                running=int(told["running"]),
                devices=max(1, int(told["devices"])),
                seconds_per_passage=float(seconds) if seconds else None,
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BackendUnavailableError(
                f"the pool at {self._server.address.root} does not tell its load",
                remedy="check that it runs: slarag pool status",
                backend=self._name,
            ) from error

    async def aclose(self) -> None:
        """Close the connections of this event loop; the pool goes on, and a later call opens new ones."""
        await self._server.aclose()

    async def _models(self) -> dict[str, Any]:
        async with self._server.sent("GET", self._server.address.api("models")) as response:
            return await read_json(response)

    async def _ask(
        self, question: str, passages: tuple[Passage, ...], left: float | None, fields: Mapping[str, Any]
    ) -> dict[str, Any]:
        body: dict[str, Any] = {"question": question, "passages": [passage.text for passage in passages], **fields}
        if left is not None:
            body["deadline_ms"] = min(1000 * left, _LONGEST_MS)
        return await within(self._post(body), left, self._name)

    async def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        try:
            async with self._server.sent("POST", self._server.address.api("answers"), body) as response:
                return await read_json(response)
        except BackendUnavailableError as error:
            if error.details.get("status") == _GATEWAY_TIMEOUT:
                raise BackendTimeoutError(
                    f"the pool had no time to read {len(body['passages'])} passages", backend=self._name
                ) from error
            raise

    def _answer_of(self, reply: dict[str, Any], passages: tuple[Passage, ...]) -> AnswerResult:
        usage = _usage_of(reply)
        shares = {p.passage_id: float(row["answerability"]) for p, row in zip(passages, reply["passages"], strict=True)}
        return AnswerResult(
            candidates=tuple(_candidate_of(row, passages) for row in reply["candidates"]),
            no_answer=float(reply["no_answer"]),
            answerability=shares,
            usage=usage,
            usd=self._usd(usage),
        )

    def _usd(self, usage: Usage) -> float | None:
        return None if self._price is None else self._price.of(usage)

    def _misread(self, error: Exception) -> BackendReplyError:
        return BackendReplyError(
            f"backend {self._name!r} sent a body that cannot be used: {type(error).__name__} {error}",
            remedy="check that the address is that of a slarag pool",
            backend=self._name,
        )


def _candidate_of(row: Mapping[str, Any], passages: tuple[Passage, ...]) -> Candidate:
    spans = tuple(
        Span(passage_id=passages[span["passage"]].passage_id, start=int(span["start"]), end=int(span["end"]))
        for span in row["spans"]
    )
    return Candidate(text=str(row["text"]), spans=spans, probability=float(row["probability"]))


def _support_of(raw: Mapping[str, Any]) -> dict[str, float]:
    return {name: float(raw[name]) for name in ("supported", "refuted", "not_enough")}


def _compute(request: AnswerRequest | VerifyRequest) -> dict[str, float]:
    return {"compute_budget": request.compute_budget, "compute_floor": request.compute_floor}


def _usage_of(reply: Mapping[str, Any]) -> Usage:
    usage = cast("Mapping[str, Any]", reply["usage"])
    return Usage(
        input_tokens=_new_tokens(usage),
        device_seconds=float(usage["device_seconds"]),
        reused_readings=int(usage.get("cached_readings", 0)),
    )


def _new_tokens(usage: Mapping[str, Any]) -> int:
    """What the pool knew already was read for somebody else."""
    return int(usage["prompt_tokens"]) - int(usage["prompt_tokens_details"]["cached_tokens"])
