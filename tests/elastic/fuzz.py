"""Bodies made from a server's own description, right ones and wrong ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode

PATIENCE_S = 60.0


def never_breaks(
    url: str, token: str, *, examples: int, tame: Callable[[dict[str, Any]], None] | None = None
) -> set[str]:
    """Send `examples` requests and require that each is answered, without a status over 500; returns the paths.

    Resizes are asked for as dry runs, with the token and without. tame: keeps work that is asked for small. 504 is the
    answer to a deadline.
    """
    schema = schemathesis.openapi.from_url(url + "/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations()]
    strategies = [operation.as_strategy(generation_mode=GenerationMode.POSITIVE) for operation in operations]
    strategies += [
        operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
        for operation in operations
        if operation.method == "post" and operation.body
    ]

    @settings(
        max_examples=examples, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
    )
    @given(st.one_of(strategies), st.booleans())
    def send(case: Any, with_token: bool) -> None:
        is_control = "elastic" in case.path
        body = case.body if isinstance(case.body, dict) else {}
        if is_control:
            body["dry_run"] = True
        if tame is not None:
            tame(body)
        headers = {"Authorization": f"Bearer {token}"} if with_token else {}
        reply = case.call(headers=headers, timeout=PATIENCE_S)
        assert reply.status_code < 500 or (reply.status_code == 504 and "deadline_ms" in body)
        if is_control and not with_token and case.method == "POST":
            assert reply.status_code == 401

    send()
    return {operation.path for operation in operations}
