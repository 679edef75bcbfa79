"""Reading a server's metrics: what is slow is not asked at every question, and not given up for ever."""

from __future__ import annotations

import asyncio

import pytest

from slarag.backends.wire.metrics import LastPage


class Server:
    """Says what it is told to say, and notes when it was asked. `now` is its clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.says: str | None = "page 1"
        self.asked: list[float] = []

    def clock(self) -> float:
        return self.now

    async def ask(self) -> str | None:
        self.asked.append(self.now)
        return self.says


async def get(page: LastPage, server: Server, now: float) -> str:
    server.now = now
    return await page.get(server.ask)


@pytest.mark.parametrize("silence", ["", None])
def test_a_silent_server_is_asked_after_growing_pauses_and_its_last_page_stands_a_while(silence: str | None) -> None:
    server = Server()
    page = LastPage(server.clock)
    assert asyncio.run(get(page, server, 0.0)) == "page 1"
    server.says = silence
    assert [asyncio.run(get(page, server, float(now))) for now in range(1, 20)] == ["page 1"] * 19
    assert server.asked == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0]
    assert asyncio.run(get(page, server, 31.0)) == ""
    server.says = "page 2"
    assert asyncio.run(get(page, server, 200.0)) == "page 2"
    assert asyncio.run(get(page, server, 200.1)) == "page 2"
    assert server.asked[-2:] == [200.0, 200.1]


def test_a_call_that_was_given_up_counts_as_silence() -> None:
    server = Server()
    page = LastPage(server.clock)

    async def stall() -> str:
        await asyncio.Event().wait()
        return ""

    async def use() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await page.get(stall)
        assert await get(page, server, 0.5) == ""
        assert await get(page, server, 1.0) == "page 1"

    asyncio.run(use())
    assert server.asked == [1.0]
