"""One backend's attempts at one request."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from ...sla.errors import BackendError, BackendReplyError, BackendTimeoutError, BackendUnavailableError
from ..deadlines import within
from ..protocol import (
    AnswerRequest,
    AnswerResult,
    Backend,
    GenerateRequest,
    GenerateResult,
    VerifyRequest,
    VerifyResult,
    seconds_left,
)
from .account import Account, Cost
from .breaker import CircuitBreaker
from .policy import RouterPolicy

Request = TypeVar("Request", AnswerRequest, VerifyRequest, GenerateRequest)
Result = TypeVar("Result", AnswerResult, VerifyResult, GenerateResult)
Call = Callable[[Backend, Request], Coroutine[Any, Any, Result]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Retrying:
    """How lanes try again: the policy, and a random generator and a pause in seconds that tests replace."""

    policy: RouterPolicy
    rng: random.Random
    sleep: Callable[[float], Awaitable[None]]


@dataclass(kw_only=True, slots=True)
class Lane(Generic[Request, Result]):
    """Attempts of `call` at `backend`, with retries; each one's cost, as far as known, goes to `account`.

    is_calling: whether an attempt is under way, so that a lane which is cancelled owes for one.
    """

    backend: Backend
    call: Call[Request, Result]
    breaker: CircuitBreaker
    retrying: Retrying
    account: Account
    is_calling: bool = field(default=False, init=False)

    async def run(self, request: Request) -> Result:
        """The first useful result, or the last attempt's error."""
        failed = 0
        while True:
            try:
                return await self._charged(request)
            except BackendError as error:
                failed += 1
                pause = self.retrying.policy.pause_s(failed, error, time_left(request), self.retrying.rng)
                if pause is None:
                    raise
            await self.retrying.sleep(pause)

    async def _charged(self, request: Request) -> Result:
        try:
            result = await self._guarded(request)
        except BackendError as error:
            cost = Cost.of_failure(error)
            if cost is not None:
                self.account.add(cost)
            raise
        self.account.add(Cost(result.usage, result.usd))
        return result

    async def _guarded(self, request: Request) -> Result:
        """One attempt, which the breaker admits and learns from."""
        limit = self._attempt_deadline(request.deadline)
        seconds = seconds_left(limit, self.backend.name)
        if not self.breaker.admit():
            raise BackendUnavailableError(
                f"the circuit of backend {self.backend.name!r} is open after repeated failures",
                remedy="it is tried again by itself; add a backend to fall back on",
                backend=self.backend.name,
                retryable=False,
            )
        self.is_calling = True
        try:
            result = await within(self.call(self.backend, replace(request, deadline=limit)), seconds, self.backend.name)
        except BackendError as error:
            self._learn(error, seconds)
            raise
        except BaseException:
            self.breaker.withdrawn()
            raise
        finally:
            self.is_calling = False
        self.breaker.succeeded()
        return result

    def _attempt_deadline(self, deadline: float | None) -> float | None:
        limit = self.retrying.policy.attempt_timeout_s
        if limit is None:
            return deadline
        own = time.monotonic() + limit
        return own if deadline is None else min(own, deadline)

    def _learn(self, error: BackendError, seconds: float | None) -> None:
        """A useless reply is still a reply, and a timeout after too short a time is not the backend's failure."""
        if isinstance(error, BackendReplyError):
            self.breaker.succeeded()
        elif isinstance(error, BackendTimeoutError) and _is_short(seconds, self.retrying.policy.fair_attempt_s):
            self.breaker.withdrawn()
        else:
            self.breaker.failed()


def _is_short(seconds: float | None, fair_s: float) -> bool:
    return seconds is not None and seconds < fair_s


def time_left(request: AnswerRequest | VerifyRequest | GenerateRequest) -> float | None:
    """Seconds to the request's deadline, negative when it has passed; None without one."""
    return None if request.deadline is None else request.deadline - time.monotonic()
