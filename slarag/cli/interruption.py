"""Ending a long command early, from the terminal or by a supervisor: what it did is kept, and a person is told so."""

from __future__ import annotations

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Never

from ..sla.errors import RunError

GOES_ON = "run the same command again and it goes on where it stopped"


@contextmanager
def resumable(kept: str) -> Generator[None]:
    """SIGINT and SIGTERM end the block with a `RunError` that says what is `kept` and how to go on."""
    with _terminable():
        try:
            yield
        except KeyboardInterrupt:
            raise RunError(f"interrupted; {kept}", remedy=GOES_ON) from None


@contextmanager
def _terminable() -> Generator[None]:
    """SIGTERM and SIGINT interrupt the block, also within a coroutine that holds its loop up, where they have no other
    use: asyncio would only cancel its task then.
    """
    # Python lets only the main thread set handlers.
    is_main = threading.current_thread() is threading.main_thread()
    unused = {signal.SIGTERM: signal.SIG_DFL, signal.SIGINT: signal.default_int_handler}
    before = {number: found for number, found in unused.items() if is_main and signal.getsignal(number) is found}
    for number in before:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(number: int, frame: FrameType | None) -> Never:
    raise KeyboardInterrupt
