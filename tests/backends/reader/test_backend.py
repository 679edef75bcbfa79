from __future__ import annotations

import asyncio
import itertools
import threading
import time
from pathlib import Path

import pytest

from slarag.backends.protocol import AnswerRequest, Price, VerifyRequest
from slarag.backends.reader.backend import EmbeddedReader
from slarag.backends.reader.batcher import ReadingBatcher
from slarag.backends.reader.parent import load_tokenizer
from slarag.backends.reader.reading import Reading
from slarag.backends.reader.windows import MAX_WINDOW_TOKENS, Window, Windower
from slarag.sla.errors import BackendTimeoutError
from slarag.sla.evidence import Passage

TEXTS = (
    "Io is a moon of Jupiter, found in 1610.",
    "The Danube flows into the Black Sea. " * 3,
    "¿Qué? naïve café 東京 is a city",
)
PASSAGES = tuple(Passage(passage_id=str(i), document_id=str(i), text=text) for i, text in enumerate(TEXTS))


def _window(length: int = 8) -> Window:
    return Window([0] * length, 2, [(0, 1)] * (length - 3))


def test_every_span_is_a_span_of_whole_words(untrained_folder: Path) -> None:
    async def run() -> None:
        reader = EmbeddedReader(folder=untrained_folder)
        result = await reader.answer(AnswerRequest(question="What is Io?", passages=PASSAGES, n_best=50))
        await reader.aclose()
        texts = {p.passage_id: p.text for p in PASSAGES}
        assert len(result.candidates) > 5
        for candidate in result.candidates:
            for span in candidate.spans:
                text = texts[span.passage_id]
                assert text[span.start : span.end].strip(".,;?") == candidate.text.strip(".,;?")
                assert span.start == 0 or not text[span.start - 1 : span.start + 1].encode("ascii", "replace").isalnum()
                assert (
                    span.end == len(text) or not text[span.end - 1 : span.end + 1].encode("ascii", "replace").isalnum()
                )
        assert set(result.answerability) == set(texts)

    asyncio.run(run())


def test_concurrent_calls_answer_as_single_ones_do(untrained_folder: Path) -> None:
    questions = [f"What is number {i}?" for i in range(6)]

    async def run() -> None:
        reader = EmbeddedReader(folder=untrained_folder, cached_pairs=0)
        requests = [AnswerRequest(question=q, passages=PASSAGES) for q in questions]
        alone = [await reader.answer(request) for request in requests]
        together = await asyncio.gather(*map(reader.answer, requests))
        await reader.aclose()
        for one, other in zip(alone, together, strict=True):
            assert one.no_answer == pytest.approx(other.no_answer, abs=0.02)
            assert one.usage.input_tokens == other.usage.input_tokens

    asyncio.run(run())


def test_a_pair_is_paid_for_once(untrained_folder: Path) -> None:
    async def run() -> None:
        reader = EmbeddedReader(folder=untrained_folder, price=Price(usd_per_device_second=2.0))
        request = AnswerRequest(question="What is Io?", passages=PASSAGES)
        first, second = await reader.answer(request), await reader.answer(request)
        reader.forget()
        third = await reader.answer(request)
        await reader.aclose()
        assert first.usd == pytest.approx(2.0 * first.usage.device_seconds)
        assert first.usd
        assert first.usage.reused_readings == 0
        assert (second.usd, second.usage.reused_readings) == (0, len(PASSAGES))
        assert third.usage.input_tokens == first.usage.input_tokens
        assert second.candidates == first.candidates

    asyncio.run(run())


def test_a_long_passage_is_read_to_its_end(untrained_folder: Path) -> None:
    words = Windower(load_tokenizer())
    text = " ".join(f"word{i}" for i in range(900))
    windows = words.windows("What is it?", text)
    assert len(windows) > 1
    assert all(len(window.ids) <= MAX_WINDOW_TOKENS for window in windows)
    assert windows[0].offsets[0] == (0, 5)
    assert windows[-1].offsets[-1][1] == len(text)
    for one, other in itertools.pairwise(windows):
        assert other.offsets[0][0] < one.offsets[-1][1], "neighbours overlap"
    assert words.windows("What is it?", "") == []


def test_verification_sums_to_one_and_needs_evidence(untrained_folder: Path) -> None:
    async def run() -> None:
        reader = EmbeddedReader(folder=untrained_folder)
        result = await reader.verify(VerifyRequest(question="What is Io?", answer="a moon", evidence=PASSAGES))
        nothing = await reader.verify(VerifyRequest(question="What is Io?", answer="a moon", evidence=()))
        await reader.aclose()
        assert result.supported + result.refuted + result.not_enough == pytest.approx(1.0, abs=1e-4)
        assert nothing.not_enough == 1.0

    asyncio.run(run())


def test_a_reading_that_takes_too_long_times_out_and_the_next_one_works(untrained_folder: Path) -> None:
    async def run() -> None:
        reader = EmbeddedReader(folder=untrained_folder)
        with pytest.raises(BackendTimeoutError):
            await reader.answer(AnswerRequest(question="q?", passages=PASSAGES, deadline=time.monotonic() - 1))
        many = tuple(
            Passage(passage_id=str(i), document_id="d", text=f"{i} " + "long text of many words " * 60)
            for i in range(300)
        )
        with pytest.raises(BackendTimeoutError):
            await reader.answer(AnswerRequest(question="q?", passages=many, deadline=time.monotonic() + 0.3))
        result = await reader.answer(AnswerRequest(question="q?", passages=PASSAGES))
        assert result.candidates
        await reader.aclose()
        await reader.aclose()

    asyncio.run(run())


def test_the_reading_thread_ends_with_the_backend(untrained_folder: Path) -> None:
    async def run() -> None:
        reader = EmbeddedReader(folder=untrained_folder)
        await reader.answer(AnswerRequest(question="q?", passages=PASSAGES))
        assert any(thread.name == "slarag-reader" for thread in threading.enumerate())
        await reader.aclose()

    asyncio.run(run())
    assert not any(thread.name == "slarag-reader" for thread in threading.enumerate())


def test_waiting_windows_share_batches_of_bounded_size_and_urgent_ones_go_first() -> None:
    gate, started, seen = threading.Event(), threading.Event(), []

    def read(windows: list[Window]) -> list[Reading]:
        started.set()
        gate.wait()
        seen.append([len(window.ids) for window in windows])
        return [Reading((), 0.0, 0.0, (0.0, 0.0, 1.0), len(window.ids)) for window in windows]

    batcher = ReadingBatcher(read, batch_tokens=60)
    first = batcher.submit([_window(10)], None)
    started.wait()
    relaxed = batcher.submit([_window(20) for _ in range(4)], None)
    urgent = batcher.submit([_window(19)], time.monotonic() + 100)
    late = batcher.submit([_window(18)], time.monotonic() - 1)
    cancelled = batcher.submit([_window(17)], None)
    cancelled[0].cancel()
    assert batcher.waiting == 7
    gate.set()
    for future in [*first, *relaxed, *urgent]:
        assert future.result(timeout=10).seconds >= 0
    with pytest.raises(TimeoutError):
        late[0].result(timeout=10)
    batcher.close()
    assert seen[0] == [10]
    assert 19 in seen[1]
    assert all(max(batch) * len(batch) <= 60 for batch in seen)
    assert sum(map(len, seen)) == 6


def test_windows_of_quite_another_length_are_not_padded_to_this_ones() -> None:
    gate, started, seen = threading.Event(), threading.Event(), []

    def read(windows: list[Window]) -> list[Reading]:
        started.set()
        gate.wait()
        seen.append([len(window.ids) for window in windows])
        return [Reading((), 0.0, 0.0, (0.0, 0.0, 1.0), len(window.ids)) for window in windows]

    batcher = ReadingBatcher(read)
    first = batcher.submit([_window(10)], None)
    started.wait()
    mixed = batcher.submit([_window(length) for length in (300, 60, 310, 50, 290, 55)], None)
    gate.set()
    for future in [*first, *mixed]:
        future.result(timeout=10)
    batcher.close()
    assert sorted(map(sorted, seen[1:])) == [[50, 55, 60], [290, 300, 310]]


def test_the_first_batch_is_cold_and_does_not_count() -> None:
    pauses = iter([2.0, 0.0])

    def read(windows: list[Window]) -> list[Reading]:
        time.sleep(next(pauses))
        return [Reading((), 0.0, 0.0, (0.0, 0.0, 1.0), len(window.ids)) for window in windows]

    batcher = ReadingBatcher(read)
    batcher.submit([_window()], None)[0].result(timeout=10)
    assert batcher.seconds_per_window is None
    batcher.submit([_window()], None)[0].result(timeout=10)
    batcher.close()
    assert batcher.seconds_per_window is not None
    assert batcher.seconds_per_window < 2.0


def test_a_failure_of_the_model_reaches_those_who_wait() -> None:
    def read(windows: list[Window]) -> list[Reading]:
        raise ValueError("broken weights")

    batcher = ReadingBatcher(read)
    futures = batcher.submit([_window(), _window()], None)
    for future in futures:
        with pytest.raises(ValueError, match="broken weights"):
            future.result(timeout=10)
    batcher.close()
    with pytest.raises(RuntimeError, match="closed"):
        batcher.submit([_window()], None)


def test_the_reading_thread_survives_a_window_that_is_cancelled_as_its_deadline_passes() -> None:
    gate, started = threading.Event(), threading.Event()

    def read(windows: list[Window]) -> list[Reading]:
        started.set()
        gate.wait()
        return [Reading((), 0.0, 0.0, (0.0, 0.0, 1.0), len(window.ids)) for window in windows]

    batcher = ReadingBatcher(read)
    batcher.submit([_window()], None)
    started.wait()
    late = batcher.submit([_window() for _ in range(200)], time.monotonic() - 1)
    canceller = threading.Thread(target=lambda: [future.cancel() for future in reversed(late)])
    gate.set()
    canceller.start()
    canceller.join()
    assert batcher.submit([_window()], None)[0].result(timeout=10).reading.tokens == 8
    assert all(future.done() for future in late)
    batcher.close()


def test_the_answer_of_a_long_question_is_not_cut_off() -> None:
    tokenizer = load_tokenizer()
    windows = Windower(tokenizer).windows("why " * 400 + "zebra", "Because it is.")
    assert "zebra" in tokenizer.decode(windows[0].ids)


def test_the_load_counts_calls_not_windows(untrained_folder: Path) -> None:
    async def run() -> None:
        reader = EmbeddedReader(folder=untrained_folder)
        assert (await reader.load()).waiting == 0
        calls = [
            asyncio.create_task(reader.answer(AnswerRequest(question=f"{i}?", passages=PASSAGES))) for i in range(3)
        ]
        reader.open()
        await asyncio.sleep(0)
        load = await reader.load()
        assert load.waiting + load.running == 3
        await asyncio.gather(*calls)
        idle = await reader.load()
        assert (idle.waiting, idle.running) == (0, 0)
        await reader.aclose()

    asyncio.run(run())
