"""Checks of what a backend says about itself, and of its end."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import get_args

from ...sla.errors import BackendUnavailableError
from ..protocol import Backend, Capability
from .case import Case, answer_request, generate_request, require, verify_request


async def it_is_a_backend(case: Case) -> None:
    """It has every member of the protocol, a name, and at least one capability of the closed set."""
    require(isinstance(case.backend, Backend), f"{type(case.backend).__name__} lacks members of Backend")
    require(bool(case.backend.name.strip()), "its name is blank")
    declared, known = case.backend.capabilities, set(get_args(Capability))
    require(bool(declared) and declared <= known, f"capabilities {set(declared)!r} are not some of {known!r}")


async def undeclared_tasks_are_refused(case: Case) -> None:
    """A task that is not among the capabilities raises `BackendUnavailableError`."""
    every: dict[str, Callable[[], Awaitable[object]]] = {
        "answer": lambda: case.backend.answer(answer_request()),
        "verify": lambda: case.backend.verify(verify_request()),
        "generate": lambda: case.backend.generate(generate_request()),
    }
    for task, call in every.items():
        if task not in case.backend.capabilities:
            await _require_refusal(task, call)


async def load_is_sound(case: Case) -> None:
    """The load is never negative, also before the first call."""
    load = await case.backend.load()
    require(load.waiting >= 0 and load.running >= 0 and load.devices >= 0, f"{load!r} has negative parts")
    seconds = load.seconds_per_passage
    require(seconds is None or (math.isfinite(seconds) and seconds >= 0), f"{load!r} has no sound seconds_per_passage")


async def closing_twice_is_fine(case: Case) -> None:
    """`aclose` can be called again, before and after use."""
    if "answer" in case.backend.capabilities:
        await case.backend.answer(answer_request())
    await case.backend.aclose()
    await case.backend.aclose()


CHECKS = (it_is_a_backend, undeclared_tasks_are_refused, load_is_sound, closing_twice_is_fine)


async def _require_refusal(task: str, call: Callable[[], Awaitable[object]]) -> None:
    try:
        result = await call()
    except BackendUnavailableError:
        return
    raise AssertionError(f"{task} is no capability, but returned {result!r}; raise BackendUnavailableError")
