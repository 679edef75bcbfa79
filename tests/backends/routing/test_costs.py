"""What a routed call costs."""

from __future__ import annotations

import pytest

from slarag.backends.protocol import Price, Usage
from slarag.backends.router import RouterBackend
from slarag.backends.routing.policy import RouterPolicy
from slarag.sla.errors import (
    BackendReplyError,
)
from tests.backends.routing.support import NO_RETRIES, PRICE, REQUEST, run, unavailable, useless
from tests.backends.scripted import ScriptedBackend, result


def test_failed_attempts_are_charged() -> None:
    first = ScriptedBackend("first", useless(7, 0.25), useless(7, 0.25))
    second = ScriptedBackend("second", result(usd=1.0, tokens=10))
    answered = run(RouterBackend([first, second], policy=RouterPolicy(backoff_s=0)).answer(REQUEST))
    assert (answered.usd, answered.usage.input_tokens) == (1.5, 24)


def test_one_unpriced_attempt_leaves_the_sum_unpriced() -> None:
    first, second = ScriptedBackend("first", useless(7, None)), ScriptedBackend("second", result(usd=1.0))
    answered = run(RouterBackend([first, second], policy=NO_RETRIES).answer(REQUEST))
    assert answered.usd is None
    assert answered.usage.input_tokens == 17


def test_a_failure_of_all_says_what_it_cost() -> None:
    first, second = ScriptedBackend("first", unavailable()), ScriptedBackend("second", useless(7, 0.25))
    with pytest.raises(BackendReplyError, match="refused, then nonsense") as failure:
        run(RouterBackend([first, second], policy=NO_RETRIES).answer(REQUEST))
    assert failure.value.details["usd"] == 0.25
    assert failure.value.details["usage"] == Usage(input_tokens=7)


class Priced(ScriptedBackend):
    """A backend that states its price."""

    def __init__(self, name: str, price: Price | None) -> None:
        super().__init__(name)
        self.price = price


def test_the_price_is_the_dearest_of_each_part() -> None:
    local, hosted = Price(usd_per_device_second=0.5), Price(usd_per_million_input_tokens=2.0)
    router = RouterBackend([Priced("local", local), Priced("hosted", hosted), ScriptedBackend("silent")])
    assert router.price == Price(usd_per_device_second=0.5, usd_per_million_input_tokens=2.0)


def test_one_unpriced_backend_leaves_the_router_unpriced() -> None:
    assert RouterBackend([Priced("one", PRICE), Priced("two", None)]).price is None


def test_where_none_states_a_price_the_results_tell() -> None:
    assert getattr(RouterBackend([ScriptedBackend("silent")]), "price", "unsaid") == "unsaid"
