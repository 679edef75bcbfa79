"""The compute budget of what a pool reads, on an engine without devices: the test is the device."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import cast

from slarag.backends.elastic.cluster.cluster import Cluster
from slarag.backends.elastic.serve.reading import Question, ReadingEngine
from slarag.backends.elastic.serve.reading_lane import ReadingLane
from slarag.backends.reader.parent import load_tokenizer
from slarag.backends.reader.store import ReaderSettings
from slarag.sla.evidence import Passage

PASSAGE = Passage(passage_id="0", document_id="0", text="The canal was completed in 1893.")


def test_a_window_that_is_read_again_has_the_budget_that_was_asked_for() -> None:
    asyncio.run(_read_thrice())


async def _read_thrice() -> None:
    cluster = SimpleNamespace(
        devices={},
        options=SimpleNamespace(max_batch_tokens=1000),
        watch=SimpleNamespace(),
        require_whole=lambda: None,
    )
    engine, waits = ReadingEngine(cast("Cluster", cluster), load_tokenizer(), ReaderSettings()), asyncio.Event()
    lane = SimpleNamespace(wake=waits.set, is_free=True, seconds_in_full=None, seconds_per_window=None)
    engine._lanes[0] = cast("ReadingLane", lane)
    asked = Question(text="When?", passages=(PASSAGE,), compute_budget=0.9, compute_floor=0.3)
    answer = asyncio.create_task(engine.answer(asked))
    await asyncio.wait_for(waits.wait(), 10)
    for level, budget in ((0.5, 0.45), (0.5, 0.45), (1.0, 0.9)):
        engine.brown_out.level = level
        taken = engine._take()
        assert [job.window.budget for job in taken] == [budget]
        engine._give_back(taken)
    answer.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await answer
