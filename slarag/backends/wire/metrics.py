"""The few figures that are read from a server's Prometheus page, and how often it is asked for one."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Awaitable, Callable

_FIRST_PAUSE_S, _LONGEST_PAUSE_S, _KEPT_S = 1.0, 60.0, 30.0
_SAMPLE = re.compile(r"^([A-Za-z_:][A-Za-z0-9_:]*)(?:\{[^}]*\})?\s+(\S+)", re.MULTILINE)


def metric_sum(page: str, name: str) -> float:
    """The sum of all samples of the metric `name`, over its labels; 0 when there is none."""
    return math.fsum(_number(value) for found, value in _SAMPLE.findall(page) if found == name)


def _number(raw: str) -> float:
    try:
        value = float(raw)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


class LastPage:
    """A page that may be slow or missing. clock: seconds, monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._page = ""
        self._read_at = -math.inf
        self._ask_at = -math.inf
        self._pause_s = _FIRST_PAUSE_S

    async def get(self, ask: Callable[[], Awaitable[str | None]]) -> str:
        """What `ask` says, or said last; "" when that is long ago.

        After an `ask` that says nothing or is cancelled a pause follows, each twice as long as the one before.
        """
        if self._clock() >= self._ask_at:
            self._ask_at = self._clock() + self._pause_s
            self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s)
            page = await ask()
            if page:
                self._page, self._read_at = page, self._clock()
                self._ask_at, self._pause_s = -math.inf, _FIRST_PAUSE_S
        return self._page if self._clock() - self._read_at <= _KEPT_S else ""
