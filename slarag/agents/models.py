"""The models of one query: backends behind its deadline and its ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar

from ..backends.cost import Cost
from ..backends.protocol import AnswerRequest, AnswerResult, Backend, VerifyRequest, VerifyResult
from ..sla.budget import Budget
from ..sla.errors import BackendError, BackendTimeoutError, CostCapError, SlaragError, UnpricedCallError
from .race import run_unless

Result = TypeVar("Result", AnswerResult, VerifyResult)
_UNSAID = object()


class Models:
    """Calls backends and charges what they cost, a reply that could not be used included.

    The call that passes the cap still gives its result, because it is paid for; every later one raises `CostCapError`.
    """

    def __init__(self, backends: Sequence[Backend], budget: Budget) -> None:
        self._backends = tuple(backends)
        self._budget = budget
        self.capped: CostCapError | None = None

    def reader(self, index: int) -> Backend:
        """The backend of a replica's model `index`, modulo the number of backends."""
        return self._backends[index % len(self._backends)]

    def verifiers(self) -> tuple[Backend, ...]:
        """The backends that judge claims."""
        return tuple(backend for backend in self._backends if "verify" in backend.capabilities)

    def require_prices(self) -> None:
        """Raise `UnpricedCallError` under a cost cap for a backend whose attribute `price` is None: before it is paid.

        A backend without such an attribute is taken at the `usd` of its results.
        """
        if self._budget.cap_usd is None:
            return
        for backend in self._backends:
            if getattr(backend, "price", _UNSAID) is None:
                raise UnpricedCallError(
                    f"backend {backend.name!r} has no price, but the query is capped at {self._budget.cap_usd!r} USD",
                    remedy="give it a price, such as price=Price(usd_per_million_input_tokens=0.15), or use a profile "
                    "without a cost objective",
                )

    async def answer(
        self, backend: Backend, request: AnswerRequest, stop: asyncio.Future[None] | None = None
    ) -> AnswerResult | None:
        """The backend's answer; None if `stop` came first. Raises `BackendError` and `BudgetError`."""
        return await self._charged(backend, "answer", backend.answer(request), stop)

    async def verify(self, backend: Backend, request: VerifyRequest) -> VerifyResult:
        """The backend's judgement. Raises `BackendError` and `BudgetError`."""
        result = await self._charged(backend, "verify", backend.verify(request), None)
        assert result is not None
        return result

    async def _charged(
        self, backend: Backend, task: str, work: Coroutine[Any, Any, Result], stop: asyncio.Future[None] | None
    ) -> Result | None:
        if (refusal := self._refusal()) is not None:
            work.close()
            raise refusal
        what = f"{backend.name}.{task}"
        try:
            result = await _guarded(backend, task, work, stop)
        except BackendError as error:
            if (cost := Cost.of_failure(error)) is not None:
                self._charge(what, cost)
            raise
        if result is not None:
            self._charge(what, Cost(result.usage, result.usd))
        return result

    def _refusal(self) -> SlaragError | None:
        """Why nothing more may be called: the money is spent, or the time."""
        if self.capped is None and self._budget.expired:
            return BackendTimeoutError("the deadline passed before the call")
        return self.capped

    def _charge(self, what: str, cost: Cost) -> None:
        try:
            usage = cost.usage
            self._budget.charge(what, cost.usd, usage.device_seconds, reused_readings=usage.reused_readings)
        except CostCapError as error:
            self.capped = error


async def _guarded(
    backend: Backend, task: str, work: Coroutine[Any, Any, Result], stop: asyncio.Future[None] | None
) -> Result | None:
    """The work's result; whatever a backend raises becomes a `BackendError` that names it."""
    try:
        return await run_unless(stop, work)
    except SlaragError:
        raise
    except TimeoutError as error:
        raise BackendTimeoutError(
            f"backend {backend.name!r} timed out in {task}", remedy="allow a longer deadline", backend=backend.name
        ) from error
    except Exception as error:
        raise BackendError(
            f"backend {backend.name!r} failed in {task}: {type(error).__name__}: {str(error)[:200]}",
            remedy="check the backend's service and settings",
            backend=backend.name,
        ) from error
