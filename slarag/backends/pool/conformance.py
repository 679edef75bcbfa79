"""What every pool driver must do, to be run against a real or an imitated pool."""

from __future__ import annotations

import asyncio

from .driver import PoolDriver
from .observation import Observation, Target

_PATIENCE_S = 60.0
_PAUSE_S = 0.01


async def check_driver(driver: PoolDriver, *, other_size: int) -> None:
    """Observe, scale to `other_size` and back; raises `AssertionError` with what is wrong. The pool ends as it was."""
    first = await driver.observe()
    _check_counts(first)
    if first.is_resizing:
        raise AssertionError("the pool resizes already")
    for size in (other_size, first.devices):
        await driver.scale(Target(size))
        seen = await asyncio.wait_for(_until_done(driver), _PATIENCE_S)
        if seen.devices != size:
            raise AssertionError(f"asked for {size} devices, the driver says {seen.devices}")
    await driver.scale(Target(first.devices))
    seen = await asyncio.wait_for(_until_done(driver), _PATIENCE_S)
    if seen.devices != first.devices:
        raise AssertionError("a target that is reached already must change nothing")


async def _until_done(driver: PoolDriver) -> Observation:
    while True:
        seen = await driver.observe()
        _check_counts(seen)
        if not seen.is_resizing:
            return seen
        await asyncio.sleep(_PAUSE_S)


def _check_counts(seen: Observation) -> None:
    counts = (seen.waiting, seen.running, seen.arrivals, seen.input_tokens, seen.output_tokens, seen.met)
    counts += (seen.with_deadline, seen.met_deadline, seen.finished - seen.met, seen.with_deadline - seen.met_deadline)
    if min(counts) < 0 or seen.devices < 0 or seen.interval_s <= 0:
        raise AssertionError(f"an observation that cannot be: {seen}")
