"""The conformance suite finds what is wrong with a backend."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from slarag.backends.chat import ChatBackend
from slarag.backends.conformance import CHECKS, BackendConformance, ConformanceSettings, check_backend
from slarag.backends.protocol import AnswerRequest, AnswerResult, BackendLoad, Price, VerifyRequest, VerifyResult
from slarag.sla.evidence import Span
from tests.backends.chat_models import HonestModel

Twist = Callable[[AnswerRequest, AnswerResult], AnswerResult]


class TwistedBackend(ChatBackend):
    """An honest backend with one fault."""

    def __init__(self, twist: Twist = lambda _, result: result) -> None:
        super().__init__(HonestModel(), price=Price())
        self._twist = twist

    async def answer(self, request: AnswerRequest) -> AnswerResult:
        return self._twist(request, await super().answer(request))


class ForgetfulBackend(TwistedBackend):
    async def answer(self, request: AnswerRequest) -> AnswerResult:
        self._forgotten = asyncio.ensure_future(asyncio.Event().wait())
        return await super().answer(request)


class LateBackend(TwistedBackend):
    async def answer(self, request: AnswerRequest) -> AnswerResult:
        return await super().answer(replace(request, deadline=None))


class UnsureBackend(TwistedBackend):
    async def verify(self, request: VerifyRequest) -> VerifyResult:
        return VerifyResult(supported=0.4, refuted=0.4, not_enough=0.4, usd=0.0)


class BusyBackend(TwistedBackend):
    async def load(self) -> BackendLoad:
        return BackendLoad(waiting=-1)


def failures(make: Callable[[], ChatBackend]) -> set[str]:
    settings = ConformanceSettings(priced=True, tolerance_s=0.2)
    return {o.check for o in asyncio.run(check_backend(make, settings=settings)) if o.status == "failed"}


def _shifted(_: AnswerRequest, result: AnswerResult) -> AnswerResult:
    """Offsets into the source instead of the passage."""
    moved = [
        replace(c, spans=tuple(Span(passage_id=s.passage_id, start=s.start + 1000, end=s.end + 1000) for s in c.spans))
        for c in result.candidates
    ]
    return replace(result, candidates=tuple(moved))


def _scaled(_: AnswerRequest, result: AnswerResult) -> AnswerResult:
    return replace(result, candidates=tuple(replace(c, probability=c.probability * 2) for c in result.candidates))


def _unpriced_when_empty(request: AnswerRequest, result: AnswerResult) -> AnswerResult:
    return result if request.passages else replace(result, usd=None)


def _reversed(_: AnswerRequest, result: AnswerResult) -> AnswerResult:
    lower = [replace(c, text=c.text, probability=c.probability / 2) for c in result.candidates]
    return replace(result, candidates=(*lower, *result.candidates))


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (TwistedBackend, None),
        (lambda: TwistedBackend(_shifted), "spans_stand_in_their_passages"),
        (lambda: TwistedBackend(_scaled), "spans_stand_in_their_passages"),
        (lambda: TwistedBackend(_reversed), "candidates_are_sorted_and_limited"),
        (lambda: TwistedBackend(_unpriced_when_empty), "no_passages_hold_no_answer"),
        (lambda: TwistedBackend(lambda _, r: replace(r, candidates=())), "spans_stand_in_their_passages"),
        (ForgetfulBackend, "closing_twice_is_fine"),
        (LateBackend, "past_deadlines_raise"),
        (UnsureBackend, "verdicts_sum_to_one"),
        (BusyBackend, "load_is_sound"),
    ],
)
def test_a_fault_is_found(make: Callable[[], ChatBackend], found: str | None) -> None:
    failed = failures(make)
    assert found in failed if found else not failed


def test_what_does_not_apply_is_skipped() -> None:
    outcomes = asyncio.run(check_backend(TwistedBackend))
    assert len(outcomes) == len(CHECKS)
    skipped = {outcome.check: outcome.why for outcome in outcomes if outcome.status == "skipped"}
    assert skipped == {"stalled_calls_raise_at_their_deadline": "no stalled form of this backend was given"}


def test_the_class_has_a_test_for_each_check() -> None:
    methods = {name for name in dir(BackendConformance) if name.startswith("test_")}
    assert methods == {f"test_{check.__name__}" for check in CHECKS}
    assert all(getattr(BackendConformance, name).__doc__ for name in methods)


def test_the_suite_needs_no_pytest() -> None:
    program = "import sys; sys.modules['pytest'] = None; import slarag.backends.conformance"
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
