"""Replies of chat servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from slarag.backends.wire.body import UnusableBodyError
from slarag.backends.wire.chat_completions import completion_of, completion_of_events


@pytest.mark.parametrize("finish", ["failed", "cancelled"])
def test_a_reply_that_was_not_written_to_its_end_is_none(finish: str) -> None:
    whole = {"choices": [{"message": {"content": "half"}, "finish_reason": finish}]}
    with pytest.raises(UnusableBodyError, match=f"ended as {finish}"):
        completion_of(whole)

    async def events() -> AsyncIterator[dict[str, Any]]:
        yield {"choices": [{"delta": {"content": "half"}, "finish_reason": finish}]}

    with pytest.raises(UnusableBodyError, match=f"ended as {finish}"):
        asyncio.run(completion_of_events(events()))
