"""The embedded reader as a Backend: offline question answering and verification on this machine's CPU."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from ...minilm.precision import bfloat16_is_fast
from ...sla.calibration import USD_PER_DEVICE_SECOND
from ...sla.errors import BackendTimeoutError, BackendUnavailableError
from ...sla.evidence import Passage
from ..protocol import (
    AnswerRequest,
    AnswerResult,
    BackendLoad,
    Capability,
    GenerateRequest,
    GenerateResult,
    Price,
    Usage,
    VerifyRequest,
    VerifyResult,
    seconds_left,
)
from .batcher import ReadingBatcher, ReadingCache, TimedReading
from .combine import combine
from .model import Reader
from .parent import load_tokenizer
from .reading import Reading, merge_windows, read_windows
from .store import ReaderSettings, load_reader, pack, reads_within_budget, use_bfloat16
from .windows import Window, Windower

DEFAULT_PRICE = Price(usd_per_device_second=USD_PER_DEVICE_SECOND)
_LONG = 20_000
"""Characters of a passage from which finding its tokens would hold up the loop."""


@dataclass(frozen=True, slots=True)
class PassageReading:
    """The reading of one passage, the tokens and the device time that it cost (0 when it is a reused one)."""

    reading: Reading
    tokens: int
    device_seconds: float
    is_reused: bool = False


class EmbeddedReader:
    """Reads questions against passages with the shipped model.

    folder: a trained reader's folder, the shipped one by default. threads: of the matrix products; None for torch's own
    number, the cores or what OMP_NUM_THREADS says. price: None means unpriced calls. cached_pairs: readings held, so
    that no pair is read and paid for twice, within a query or by a repeated one, whose usage then counts them as
    reused; 0 turns that off. The model is loaded at the first call or by `open`.
    """

    def __init__(
        self,
        *,
        folder: Path | None = None,
        name: str = "reader",
        price: Price | None = DEFAULT_PRICE,
        threads: int | None = None,
        cached_pairs: int = 512,
    ) -> None:
        self._folder = folder
        self._name = name
        self._price = price
        self._threads = threads
        self._cache = ReadingCache(cached_pairs)
        self._batcher: ReadingBatcher | None = None
        self._windower: Windower | None = None
        self._settings = ReaderSettings()
        self._opening = threading.Lock()
        self._calls: set[object] = set()

    @property
    def name(self) -> str:
        """The name given."""
        return self._name

    @property
    def price(self) -> Price | None:
        """The price given."""
        return self._price

    @property
    def capabilities(self) -> frozenset[Capability]:
        """It answers and verifies; it writes nothing of its own."""
        return frozenset({"answer", "verify"})

    @property
    def reads_within_budget(self) -> bool:
        """Whether a request's compute budget changes what a reading costs; a dense reader always costs all."""
        return reads_within_budget(self._folder)

    @property
    def settings(self) -> ReaderSettings:
        """The fitted numbers of the loaded model."""
        return self._settings

    def open(self) -> None:
        """Load the model now, blocking; a later call finds it ready."""
        with self._opening:
            if self._batcher is not None:
                return
            model, self._settings = load_reader(self._folder)
            self._windower = Windower(load_tokenizer())
            self._batcher = ReadingBatcher(ReadFunction(model, self._threads))

    async def answer(self, request: AnswerRequest) -> AnswerResult:
        """See `Backend.answer`; the passages come best first."""
        readings = await self.read(request.question, request.passages, request.deadline, request.compute_budget)
        combined = combine(
            request.kind, request.passages, [r.reading for r in readings], self._settings, request.n_best
        )
        usage = _usage(readings)
        return AnswerResult(
            candidates=combined.candidates,
            no_answer=combined.no_answer,
            answerability=combined.answerability,
            usage=usage,
            usd=self._usd(usage),
        )

    async def verify(self, request: VerifyRequest) -> VerifyResult:
        """See `Backend.verify`; of several pieces of evidence the one that says most decides."""
        claim = f"{request.question.strip()} {request.answer.strip()}".strip()
        readings = await self.read(claim, request.evidence, request.deadline, request.compute_budget)
        usage = _usage(readings)
        supports = [r.reading.support for r in readings]
        supported, refuted, not_enough = min(supports, key=lambda s: s[2], default=(0.0, 0.0, 1.0))
        return VerifyResult(
            supported=supported, refuted=refuted, not_enough=not_enough, usage=usage, usd=self._usd(usage)
        )

    async def generate(self, request: GenerateRequest) -> GenerateResult:
        """Not among its capabilities: raises `BackendUnavailableError`."""
        raise BackendUnavailableError(
            f"backend {self._name!r} reads, it does not write", remedy="use a chat model for free text"
        )

    async def load(self) -> BackendLoad:
        """The calls whose windows wait or are being read, and recent seconds a window."""
        if self._batcher is None:
            return BackendLoad()
        calls = len(self._calls)
        running = min(1, self._batcher.running, calls)
        return BackendLoad(
            waiting=calls - running, running=running, seconds_per_passage=self._batcher.seconds_per_window
        )

    async def aclose(self) -> None:
        """End the reading thread."""
        batcher, self._batcher = self._batcher, None
        if batcher is not None:
            await asyncio.to_thread(batcher.close)

    async def read(
        self, first: str, passages: Sequence[Passage], deadline: float | None, budget: float = 1.0
    ) -> list[PassageReading]:
        """Read `first` (a question or claim) against each passage, in order; concurrent calls share batches.

        `budget` is the share of the full model's FLOPs that it may cost; a dense reader always costs all of them.
        Raises `BackendTimeoutError` at `deadline` (seconds on the monotonic clock).
        """
        left = seconds_left(deadline, self._name)
        call = object()
        self._calls.add(call)
        try:
            async with asyncio.timeout(left):
                await self._ensure_open()
                return list(await asyncio.gather(*(self._read_one(first, p.text, deadline, budget) for p in passages)))
        except TimeoutError as error:
            raise BackendTimeoutError(
                f"backend {self._name!r} had no time to read {len(passages)} passages", backend=self._name
            ) from error
        finally:
            self._calls.discard(call)

    def forget(self) -> None:
        """Drop the readings held, so that a measurement pays for each."""
        self._cache.clear()

    async def _ensure_open(self) -> None:
        if self._batcher is None:
            await asyncio.to_thread(self.open)

    async def _read_one(self, first: str, passage: str, deadline: float | None, budget: float) -> PassageReading:
        held = self._cache.get(first, passage, budget)
        if held is not None:
            return PassageReading(held, 0, 0.0, is_reused=True)
        assert self._windower is not None
        assert self._batcher is not None
        windows = (
            await asyncio.to_thread(self._windower.windows, first, passage, budget)
            if len(passage) > _LONG
            else self._windower.windows(first, passage, budget)
        )
        if not windows:
            return PassageReading(Reading((), -20.0, -20.0, (0.0, 0.0, 1.0), 0), 0, 0.0)
        futures = self._batcher.submit(windows, deadline)
        try:
            timed: list[TimedReading] = await asyncio.gather(*map(asyncio.wrap_future, futures))
        except asyncio.CancelledError:
            for future in futures:
                future.cancel()
            raise
        reading = merge_windows([t.reading for t in timed])
        self._cache.put(first, passage, reading, budget)
        return PassageReading(reading, reading.tokens, sum(t.seconds for t in timed))

    def _usd(self, usage: Usage) -> float | None:
        return None if self._price is None else self._price.of(usage)


class ReadFunction:
    """Runs the model in the reading thread, with its own thread count.

    low_precision: in bfloat16, None for whether this machine's processor is fast at it. packed: with copies of the
    matrices in the processor's layout, for a model whose memory is this process's own.
    """

    def __init__(
        self, model: Reader, threads: int | None, *, low_precision: bool | None = None, packed: bool = True
    ) -> None:
        self._model = model
        self._threads = threads
        self._low_precision = bfloat16_is_fast() if low_precision is None else low_precision
        if self._low_precision:
            use_bfloat16(model)
        if self._low_precision and packed:
            pack(model)

    def __call__(self, windows: list[Window]) -> list[Reading]:
        """Read one batch of windows."""
        if self._threads is not None and torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)
        with torch.autocast("cpu", torch.bfloat16, enabled=self._low_precision):
            return read_windows(self._model, windows)


def _usage(readings: Sequence[PassageReading]) -> Usage:
    return Usage(
        input_tokens=sum(reading.tokens for reading in readings),
        device_seconds=sum(reading.device_seconds for reading in readings),
        reused_readings=sum(reading.is_reused for reading in readings),
    )
