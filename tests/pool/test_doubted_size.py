"""What the driver makes of switches that others start, and of calls to scale whose outcome it was not told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from slarag.backends.pool.driver import HttpPool
from slarag.backends.pool.observation import Observation, Target
from slarag.sla.errors import BackendUnavailableError

PATIENCE_S = 60.0


class Imitated:
    """A pool whose call to scale fails while its resize goes on for `rounds` more questions.

    engines: with counters of their own. tells_size: as slarag's pool does. ends_at: the size at the end.
    """

    def __init__(self, *, tells_size: bool, status: int | None, ends_at: int, rounds: int = 3) -> None:
        self.engines = 2
        self.tells_size = tells_size
        self.status = status
        self.ends_at = ends_at
        self.rounds = rounds
        self.left = 0
        self.is_away = False
        self.cache = [0.25, 0.75]
        self.asked: list[str] = []

    async def handle(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        self.asked.append(path)
        if self.is_away:
            return httpx.Response(503)
        if path == "/scale_elastic_ep":
            return self._fail(json.loads(request.content))
        if path == "/is_scaling_elastic_ep":
            return self._tell()
        return httpx.Response(200, text=self._metrics())

    def _fail(self, _: dict[str, Any]) -> httpx.Response:
        self.left = self.rounds
        if self.status is None:
            raise httpx.ReadError("the connection broke")
        return httpx.Response(self.status, text="late")

    def _tell(self) -> httpx.Response:
        self.left = max(0, self.left - 1)
        if not self.left:
            self.engines = self.ends_at
        size = {"size": self.engines} if self.tells_size else {}
        return httpx.Response(200, json={"is_scaling_elastic_ep": self.left > 0, **size})

    def _metrics(self) -> str:
        lines = [f'vllm:num_requests_running{{engine="{engine}"}} 1.0' for engine in range(self.engines)]
        lines += [f'vllm:kv_cache_usage_perc{{engine="{at}"}} {share}' for at, share in enumerate(self.cache)]
        if self.tells_size:
            lines += [f"slarag:devices {self.engines}", f"slarag:is_resizing {int(self.left > 0)}"]
        return "\n".join(lines)


def run(pool: Imitated, use: Callable[[HttpPool], Awaitable[None]]) -> None:
    async def main() -> None:
        driver = HttpPool("http://pool", devices=2, poll_s=0.0, transport=httpx.MockTransport(pool.handle))
        try:
            await use(driver)
        finally:
            await driver.aclose()

    async def limited() -> None:
        async with asyncio.timeout(PATIENCE_S):
            await main()

    asyncio.run(limited())


async def scaled(driver: HttpPool, size: int) -> Observation:
    await driver.observe()
    await driver.scale(Target(size))
    while (seen := await driver.observe()).is_resizing:  # noqa: ASYNC110
        await asyncio.sleep(0)
    return seen


@pytest.mark.parametrize("tells_size", [True, False])
@pytest.mark.parametrize("status", [408, 500, None])
@pytest.mark.parametrize("ends_at", [2, 3])
def test_after_a_failed_call_the_pool_is_asked_until_it_has_a_size(
    tells_size: bool, status: int | None, ends_at: int
) -> None:
    pool = Imitated(tells_size=tells_size, status=status, ends_at=ends_at)

    async def use(driver: HttpPool) -> None:
        seen = await scaled(driver, 3)
        assert pool.asked.count("/is_scaling_elastic_ep") == pool.rounds
        assert seen.devices == ends_at
        if tells_size:
            assert [(switch.source, switch.target) for switch in seen.switches] == ([(2, 3)] if ends_at == 3 else [])
            assert (driver.error is None) == (ends_at == 3)

    run(pool, use)


def test_a_pool_that_cannot_be_asked_is_asked_again() -> None:
    pool = Imitated(tells_size=True, status=None, ends_at=3)

    async def use(driver: HttpPool) -> None:
        await driver.observe()
        await driver.scale(Target(3))
        while not pool.left:  # noqa: ASYNC110
            await asyncio.sleep(0)
        pool.is_away = True
        assert [(await driver.observe()).is_resizing for _ in range(5)] == [True] * 5
        pool.is_away = False
        while (seen := await driver.observe()).is_resizing:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert seen.devices == 3

    run(pool, use)


def test_a_pool_that_sleeps_is_not_woken_by_the_question() -> None:
    pool = Imitated(tells_size=True, status=503, ends_at=0, rounds=0)

    async def use(driver: HttpPool) -> None:
        pool.engines = 0
        assert (await scaled(driver, 1)).devices == 0
        assert "/is_scaling_elastic_ep" not in pool.asked

    run(pool, use)


def test_a_switch_that_somebody_else_started_is_seen_and_not_disturbed() -> None:
    pool = Imitated(tells_size=False, status=None, ends_at=2)

    async def use(driver: HttpPool) -> None:
        assert not (await driver.observe()).is_resizing
        pool.is_away = True
        seen = await driver.observe()
        assert (seen.is_resizing, seen.devices, seen.running) == (True, 2, 2)
        with pytest.raises(BackendUnavailableError, match="is running"):
            await driver.scale(Target(3))
        pool.is_away, pool.engines = False, 4
        seen = await driver.observe()
        assert (seen.is_resizing, seen.devices) == (False, 4)

    run(pool, use)


def test_a_resize_that_somebody_else_asked_slarags_pool_for_is_seen() -> None:
    pool = Imitated(tells_size=True, status=None, ends_at=2)

    async def use(driver: HttpPool) -> None:
        pool.left = 1
        assert (await driver.observe()).is_resizing
        pool.left, pool.engines = 0, 3
        seen = await driver.observe()
        assert (seen.is_resizing, seen.devices) == (False, 3)

    run(pool, use)


def test_the_share_of_the_cache_is_the_mean_of_the_engines() -> None:
    pool = Imitated(tells_size=False, status=None, ends_at=2)

    async def use(driver: HttpPool) -> None:
        assert (await driver.observe()).cache_used == pytest.approx(0.5)
        pool.cache = []
        assert (await driver.observe()).cache_used == 0

    run(pool, use)
