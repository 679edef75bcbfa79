"""A backend around others: fallback, circuit breaking, hedging, and the only retries there are."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import fields, replace

from ..sla.errors import BackendError, BackendUnavailableError, ConfigurationError
from .protocol import (
    AnswerRequest,
    AnswerResult,
    Backend,
    BackendLoad,
    Capability,
    GenerateRequest,
    GenerateResult,
    Price,
    VerifyRequest,
    VerifyResult,
    seconds_left,
)
from .routing.account import Account, Cost
from .routing.breaker import BreakerState, CircuitBreaker
from .routing.lane import Call, Lane, Request, Result, Retrying
from .routing.policy import RouterPolicy
from .routing.race import Finish, Race

__all__ = ["RouterBackend", "RouterPolicy"]

_UNSAID = object()


class RouterBackend:
    """Asks `backends` in their order, each as `policy` says; the deadline bounds everything, retries included.

    A result's usage and usd are the sums over all attempts: failed ones as far as they could say what they used, and a
    cancelled hedge at what its backend's last call of that task cost, or the winner's when there was none. usd is None
    when any of them has no price. The router owns its backends and closes them.

    clock: monotonic seconds, for the circuit breakers. rng, sleep: of the backoff.
    """

    def __init__(
        self,
        backends: Sequence[Backend],
        *,
        policy: RouterPolicy | None = None,
        name: str | None = None,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        names = [backend.name for backend in backends]
        if not backends or len(set(names)) < len(names):
            raise ConfigurationError(
                f"a router needs backends with different names, not {names!r}", remedy="give each its own name"
            )
        self._backends = tuple(backends)
        self._policy = policy or RouterPolicy()
        self._name = name or f"router({', '.join(names)})"
        self._retrying = Retrying(policy=self._policy, rng=rng or random.Random(), sleep=sleep)
        self._breakers = {
            name: CircuitBreaker(
                failures_to_open=self._policy.failures_to_open, open_s=self._policy.open_s, clock=clock
            )
            for name in names
        }
        self._recent: dict[tuple[str, Capability], Cost] = {}

    @property
    def name(self) -> str:
        """The name given."""
        return self._name

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What at least one backend can do."""
        return frozenset[Capability]().union(*(backend.capabilities for backend in self._backends))

    @property
    def price(self) -> Price | None:
        """The dearest of each part, as any backend may serve a call; None when one of them is unpriced.

        Raises `AttributeError` when none of them states a price: then their results say what they cost.
        """
        stated = [getattr(backend, "price", _UNSAID) for backend in self._backends]
        prices = [price for price in stated if price is not _UNSAID]
        if not prices:
            raise AttributeError(f"no backend of {self._name!r} states a price")
        known = [price for price in prices if isinstance(price, Price)]
        if len(known) < len(prices):
            return None
        return Price(**{part.name: max(getattr(price, part.name) for price in known) for part in fields(Price)})

    @property
    def circuits(self) -> dict[str, BreakerState]:
        """The state of each backend's circuit breaker, by name."""
        return {name: breaker.state for name, breaker in self._breakers.items()}

    async def answer(self, request: AnswerRequest) -> AnswerResult:
        """See `Backend.answer`."""
        call: Call[AnswerRequest, AnswerResult] = _answer
        return await self._route("answer", call, request)

    async def verify(self, request: VerifyRequest) -> VerifyResult:
        """See `Backend.verify`."""
        call: Call[VerifyRequest, VerifyResult] = _verify
        return await self._route("verify", call, request)

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        """See `Backend.generate`."""
        call: Call[GenerateRequest, GenerateResult] = _generate
        return await self._route("generate", call, request)

    async def load(self) -> BackendLoad:
        """The state of the first backend whose circuit is not open and that can say; zeros when none can."""
        for backend in self._backends:
            if self._breakers[backend.name].state == "open":
                continue
            try:
                return await backend.load()
            except BackendError:
                continue
        return BackendLoad()

    async def aclose(self) -> None:
        """Close all backends, also when one of them fails to; raises the first failure."""
        outcomes = await asyncio.gather(*(backend.aclose() for backend in self._backends), return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome

    async def _route(self, task: Capability, call: Call[Request, Result], request: Request) -> Result:
        seconds_left(request.deadline, self._name)
        account = Account()
        lanes = self._lanes(task, call, account)
        try:
            finish = await Race(lanes, self._policy).run(request)
        except BackendError as error:
            error.details.update(usage=account.total.usage, usd=account.total.usd)
            raise
        self._settle(task, finish, account)
        return replace(finish.result, usage=account.total.usage, usd=account.total.usd)

    def _lanes(self, task: Capability, call: Call[Request, Result], account: Account) -> list[Lane[Request, Result]]:
        able = [backend for backend in self._backends if task in backend.capabilities]
        if not able:
            raise BackendUnavailableError(
                f"none of the backends of {self._name!r} can {task}", remedy="add one that does", retryable=False
            )
        return [
            Lane(
                backend=backend,
                call=call,
                breaker=self._breakers[backend.name],
                retrying=self._retrying,
                account=account,
            )
            for backend in able
        ]

    def _settle(self, task: Capability, finish: Finish[Request, Result], account: Account) -> None:
        won = Cost(finish.result.usage, finish.result.usd)
        self._recent[finish.winner.backend.name, task] = won
        for loser in finish.losers:
            account.add(self._recent.get((loser.backend.name, task), won))


async def _answer(backend: Backend, request: AnswerRequest) -> AnswerResult:
    return await backend.answer(request)


async def _verify(backend: Backend, request: VerifyRequest) -> VerifyResult:
    return await backend.verify(request)


async def _generate(backend: Backend, request: GenerateRequest) -> GenerateResult:
    return await backend.generate(request)
