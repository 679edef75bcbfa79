"""Checks of usage and price."""

from __future__ import annotations

import math

from ..protocol import Usage
from .case import Case, answer_request, generate_request, require, verify_request


async def results_are_priced_or_none_is(case: Case) -> None:
    """`usd` is on every result of a backend with a price, and on none of one without."""
    declared, backend = case.backend.capabilities, case.backend
    prices: list[float | None] = []
    if "answer" in declared:
        prices.append((await backend.answer(answer_request())).usd)
    if "verify" in declared:
        prices.append((await backend.verify(verify_request())).usd)
    if "generate" in declared:
        prices.append((await backend.generate(generate_request())).usd)
    require(len({price is None for price in prices}) <= 1, f"some results have a price and some have none: {prices!r}")


CHECKS = (results_are_priced_or_none_is,)


def check_cost(case: Case, usage: Usage, usd: float | None) -> None:
    """The laws of every result's usage and price."""
    amounts = (usage.input_tokens, usage.output_tokens, usage.device_seconds)
    require(all(math.isfinite(amount) and amount >= 0 for amount in amounts), f"{usage!r} is negative or not finite")
    require(usd is None or (math.isfinite(usd) and usd >= 0), f"a price of {usd!r} USD")
    priced = case.settings.priced
    require(priced is None or priced == (usd is not None), f"usd is {usd!r}, though the backend's priced is {priced!r}")
