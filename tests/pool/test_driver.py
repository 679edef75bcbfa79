"""The driver against an imitated vLLM with its quirks, and the controller on it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import httpx
import pytest

from slarag.backends.pool.conformance import check_driver
from slarag.backends.pool.controller import PoolController
from slarag.backends.pool.driver import HttpPool
from slarag.backends.pool.observation import Target
from slarag.backends.pool.references import Static
from slarag.sla.errors import BackendUnavailableError


class ImitatedVllm:
    """503 while it switches, counters set back by a scale-up, and a call to scale that returns when it is done."""

    def __init__(self) -> None:
        self.size = 2
        self.is_switching = False
        self.running, self.waiting = 3, 1
        self.finished = {"stop": 7, "length": 2}
        self.prompt_tokens = 900.0
        self.bodies: list[dict[str, float]] = []
        self.fails = False
        self.extra = ""

    async def handle(self, request: httpx.Request) -> httpx.Response:
        if self.is_switching and request.url.path != "/health":
            return httpx.Response(503)
        if request.url.path == "/metrics":
            return httpx.Response(200, text=self.metrics())
        if request.url.path == "/is_scaling_elastic_ep":
            return httpx.Response(200, json={"is_scaling_elastic_ep": False})
        body = json.loads(request.content)
        self.bodies.append(body)
        self.is_switching = True
        for _ in range(5):
            await asyncio.sleep(0)
        self.is_switching = False
        if self.fails:
            return httpx.Response(500, text="no")
        if body["new_data_parallel_size"] > self.size:
            self.finished, self.prompt_tokens = {}, 0.0
        self.size = body["new_data_parallel_size"]
        return httpx.Response(200, json={"message": "Scaled"})

    def metrics(self) -> str:
        lines = [
            "# TYPE vllm:num_requests_running gauge",
            f'vllm:num_requests_running{{engine="0"}} {float(self.running)}',
            f'vllm:num_requests_waiting{{engine="0"}} {float(self.waiting)}',
            f'vllm:prompt_tokens_total{{engine="0"}} {self.prompt_tokens}',
            *(f'vllm:request_success_total{{finished_reason="{why}"}} {n}' for why, n in self.finished.items()),
        ]
        return "\n".join([*lines, self.extra])


def run(use: Callable[[ImitatedVllm, HttpPool], Awaitable[None]]) -> None:
    async def main() -> None:
        pool = ImitatedVllm()
        driver = HttpPool("http://pool", devices=2, transport=httpx.MockTransport(pool.handle))
        try:
            await use(pool, driver)
        finally:
            await driver.aclose()

    asyncio.run(main())


def test_it_conforms() -> None:
    async def use(pool: ImitatedVllm, driver: HttpPool) -> None:
        await check_driver(driver, other_size=4)
        assert [body["new_data_parallel_size"] for body in pool.bodies] == [4, 2, 2]
        assert {body["drain_timeout"] for body in pool.bodies} == {120.0}

    run(use)


def test_arrivals_are_what_finished_and_what_is_in_flight_more() -> None:
    async def use(pool: ImitatedVllm, driver: HttpPool) -> None:
        first = await driver.observe()
        assert (first.running, first.waiting, first.input_tokens) == (3, 1, 0)
        pool.finished["stop"] += 5
        pool.waiting += 2
        pool.prompt_tokens += 100
        second = await driver.observe()
        assert (second.arrivals, second.input_tokens) == (7, 100)

    run(use)


def test_attainment_comes_from_the_histograms_of_the_interval() -> None:
    def histogram(name: str, counts: dict[str, float]) -> str:
        return "\n".join(f'{name}_bucket{{engine="0",le="{bound}"}} {count}' for bound, count in counts.items())

    async def use(pool: ImitatedVllm, driver: HttpPool) -> None:
        ttft = "vllm:time_to_first_token_seconds"
        pool.extra = histogram(ttft, {"0.5": 5, "1.0": 8, "2.0": 9, "+Inf": 10})
        await driver.observe()
        pool.finished["stop"] += 100
        pool.extra = histogram(ttft, {"0.5": 65, "1.0": 88, "2.0": 108, "+Inf": 110})
        pool.extra += "\n" + histogram("vllm:inter_token_latency_seconds", {"0.1": 900, "+Inf": 1000})
        seen = await driver.observe()
        # Of 100, 80 within a second; of the times between tokens, nine in ten.
        assert (seen.finished, seen.met) == (100, 72)
        pool.finished["stop"] += 10
        pool.extra += "\n" + histogram("vllm:request_time_per_output_token_seconds", {"0.05": 5, "0.2": 10, "+Inf": 10})
        # No first token came; by request 5 and a third of the next 5 stayed within 0.1 s.
        assert (await driver.observe()).met == round(10 * (5 + 5 / 3) / 10)

    run(use)


def test_standbys_are_told_to_those_that_understand() -> None:
    async def use(pool: ImitatedVllm, driver: HttpPool) -> None:
        assert "standbys" not in await told(pool, driver)
        slarag = HttpPool("http://pool", devices=2, takes_standbys=True, transport=httpx.MockTransport(pool.handle))
        assert (await told(pool, slarag))["standbys"] == 4
        await slarag.aclose()

    async def told(pool: ImitatedVllm, driver: HttpPool) -> dict[str, float]:
        await driver.scale(Target(2, 4))
        while (await driver.observe()).is_resizing:  # noqa: ASYNC110
            await asyncio.sleep(0)
        return pool.bodies[-1]

    run(use)


def test_counters_that_were_set_back_count_from_zero() -> None:
    async def use(pool: ImitatedVllm, driver: HttpPool) -> None:
        await driver.observe()
        pool.finished, pool.prompt_tokens = {"stop": 2}, 40.0
        seen = await driver.observe()
        assert (seen.arrivals, seen.input_tokens) == (2, 40)

    run(use)


def test_while_it_switches_the_last_state_stands_and_no_second_resize_starts() -> None:
    async def use(pool: ImitatedVllm, driver: HttpPool) -> None:
        await driver.observe()
        await driver.scale(Target(3))
        with pytest.raises(BackendUnavailableError, match="is running"):
            await driver.scale(Target(4))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        seen = await driver.observe()
        assert (seen.is_resizing, seen.running, seen.arrivals, seen.devices) == (True, 3, 0, 3)

    run(use)


def test_a_failed_resize_leaves_the_size_and_says_why() -> None:
    async def use(pool: ImitatedVllm, driver: HttpPool) -> None:
        pool.fails = True
        await driver.scale(Target(3))
        while (seen := await driver.observe()).is_resizing:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert seen.devices == 2
        assert driver.error == "status 500: no"

    run(use)


def test_the_controller_asks_for_what_the_policy_wants_and_survives_a_pool_that_is_away() -> None:
    async def use(pool: ImitatedVllm, driver: HttpPool) -> None:
        controller = PoolController(driver, Static(3))
        assert await controller.step() == Target(3)
        assert await controller.step() is None
        while (await driver.observe()).is_resizing:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert pool.size == 3

        async def refuse(_: httpx.Request) -> httpx.Response:
            raise httpx.ConnectError("refused")

        away = HttpPool("http://pool", devices=1, transport=httpx.MockTransport(refuse))
        assert await PoolController(away, Static(3)).step() is None
        await away.aclose()

    run(use)
