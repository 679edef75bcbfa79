"""The models of one query: backends behind its deadline and its ledger."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from ..backends.cost import Cost
from ..backends.protocol import AnswerRequest, AnswerResult, Backend, Price, Usage, VerifyRequest, VerifyResult
from ..sla.budget import Budget
from ..sla.errors import BackendError, BackendTimeoutError, CostCapError, UnpricedCallError
from ..sla.evidence import Passage
from .guard import Result, guarded, task_of

CHARACTERS_PER_TOKEN = 5
"""More than any common text has, so that the tokens are not overestimated."""
_UNSAID = object()


class Models:
    """Calls backends and charges what they cost, replies that could not be used and calls that were cut off included.

    A call whose prompt alone would pass the cap, with those under way, raises `CostCapError` instead of being made. One
    that passes it by its reply still gives its result, because it is paid for; every later one raises `CostCapError`.
    """

    def __init__(self, backends: Sequence[Backend], budget: Budget) -> None:
        self._backends = tuple(backends)
        self._budget = budget
        self._reserved = 0.0
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
        least = _least(backend, request.question, request.passages)
        return await self._charged(backend, AnswerResult, lambda: backend.answer(request), least, stop)

    async def verify(self, backend: Backend, request: VerifyRequest) -> VerifyResult:
        """The backend's judgement. Raises `BackendError` and `BudgetError`."""
        least = _least(backend, request.question + request.answer, request.evidence)
        result = await self._charged(backend, VerifyResult, lambda: backend.verify(request), least, None)
        assert result is not None
        return result

    async def _charged(
        self,
        backend: Backend,
        kind: type[Result],
        call: Callable[[], Coroutine[Any, Any, Result]],
        least: float,
        stop: asyncio.Future[None] | None,
    ) -> Result | None:
        """Make the call and enter what it cost; of one that was cut off, `least`, for its prompt was read."""
        self._refuse(backend, least)
        owed: Cost | None = Cost(Usage(), least) if least else None
        self._reserved += least
        try:
            result = await guarded(backend, kind, call(), stop)
            owed = owed if result is None else Cost(result.usage, result.usd)
            return result
        except BackendError as error:
            cut_off = owed if isinstance(error, BackendTimeoutError) else None
            owed = Cost.of_failure(error) or cut_off
            raise
        finally:
            self._reserved -= least
            if owed is not None:
                self._charge(f"{backend.name}.{task_of(kind)}", owed)

    def _refuse(self, backend: Backend, least: float) -> None:
        """Raise where nothing more may be called: the time is over, or the money, or this call's prompt passes it."""
        if self.capped is not None:
            raise self.capped
        if self._budget.expired:
            raise BackendTimeoutError("the deadline passed before the call")
        if least and not self._budget.affords(self._reserved + least):
            raise CostCapError(
                f"a call of {backend.name!r} costs {least:.6f} USD and more, which the query's cap of "
                f"{self._budget.cap_usd!r} does not leave",
                remedy="raise usd_per_query, or choose a smaller plan",
            )

    def _charge(self, what: str, cost: Cost) -> None:
        try:
            usage = cost.usage
            self._budget.charge(what, cost.usd, usage.device_seconds, reused_readings=usage.reused_readings)
        except CostCapError as error:
            self.capped = error


def _least(backend: Backend, text: str, passages: Sequence[Passage]) -> float:
    """What a call costs for its prompt alone, USD; 0 where the backend states no price by token."""
    price = getattr(backend, "price", None)
    if not isinstance(price, Price):
        return 0.0
    characters = len(text) + sum(len(passage.text) for passage in passages)
    return price.of(Usage(input_tokens=characters // CHARACTERS_PER_TOKEN))
