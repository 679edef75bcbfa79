"""The conformance suite of the Backend protocol, for slarag's backends and for yours.

With pytest, subclass it in a test module:

    class TestMyBackend(BackendConformance):
        def make_backend(self) -> Backend:
            return MyBackend()

Without, call it: `outcomes = asyncio.run(check_backend(MyBackend))`. Nothing here imports pytest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal
from unittest import SkipTest

from .checks import answers, costs, deadlines, lifecycle, verdicts
from .checks.case import Case, ConformanceSettings
from .protocol import Backend

__all__ = ["CHECKS", "BackendConformance", "ConformanceSettings", "Outcome", "check_backend"]

Check = Callable[[Case], Awaitable[None]]
CHECKS: tuple[Check, ...] = (
    *lifecycle.CHECKS,
    *answers.CHECKS,
    *verdicts.CHECKS,
    *costs.CHECKS,
    *deadlines.CHECKS,
)
"""All checks; the docstring of each says what must hold."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What one check found. why: what was wrong, or why it does not apply; blank when it passed."""

    check: str
    status: Literal["passed", "failed", "skipped"]
    why: str = ""


class BackendConformance:
    """Subclass as `Test...`, write `make_backend`, and set `settings` where the defaults do not fit.

    Every check gets a backend of its own and closes it; tasks that are left behind after that fail the check.
    """

    settings = ConformanceSettings()

    def make_backend(self) -> Backend:
        """A new backend, ready for use in another event loop than the last one."""
        raise NotImplementedError("write make_backend() in your subclass of BackendConformance")

    def make_stalled_backend(self) -> Backend | None:
        """A backend of the same kind whose model never answers; None skips that check."""
        return None

    def run_check(self, check: Check) -> None:
        """Run one check; raises `AssertionError` when it fails and `unittest.SkipTest` when it does not apply."""
        asyncio.run(_run(check, self.make_backend, self.make_stalled_backend, self.settings))


async def check_backend(
    make_backend: Callable[[], Backend],
    *,
    make_stalled_backend: Callable[[], Backend | None] = lambda: None,
    settings: ConformanceSettings | None = None,
) -> tuple[Outcome, ...]:
    """Run all checks, each on a backend that `make_backend` returns; an exception of a backend fails its check."""
    outcomes: list[Outcome] = []
    for check in CHECKS:
        name = _name(check)
        try:
            await _run(check, make_backend, make_stalled_backend, settings or ConformanceSettings())
        except SkipTest as skip:
            outcomes.append(Outcome(check=name, status="skipped", why=str(skip)))
        except Exception as error:  # noqa: BLE001  whatever a foreign backend raises is a finding about it
            outcomes.append(Outcome(check=name, status="failed", why=f"{type(error).__name__}: {error}"))
        else:
            outcomes.append(Outcome(check=name, status="passed"))
    return tuple(outcomes)


async def _run(
    check: Check,
    make_backend: Callable[[], Backend],
    make_stalled: Callable[[], Backend | None],
    settings: ConformanceSettings,
) -> None:
    before = asyncio.all_tasks()
    backend = make_backend()
    try:
        await check(Case(backend=backend, settings=settings, make_stalled=make_stalled))
    finally:
        await backend.aclose()
    await _require_no_task_left(before, settings.tolerance_s)


async def _require_no_task_left(before: set[asyncio.Task[object]], seconds: float) -> None:
    left = asyncio.all_tasks() - before
    if left:
        _, left = await asyncio.wait(left, timeout=seconds)
    if left:
        raise AssertionError(f"left behind after aclose: {sorted(task.get_name() for task in left)!r}")


def _name(check: Check) -> str:
    return getattr(check, "__name__", repr(check))


def _method(check: Check) -> Callable[[BackendConformance], None]:
    def test(self: BackendConformance) -> None:
        self.run_check(check)

    test.__doc__ = check.__doc__
    return test


for _check in CHECKS:
    setattr(BackendConformance, f"test_{_name(_check)}", _method(_check))
