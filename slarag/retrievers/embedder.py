"""Embeds questions: concurrent ones share a model batch, repeated ones come from a cache."""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import numpy as np

from .encoder import MiniLmEncoder, TextEncoder
from .ranking import Scores

_Waiting: TypeAlias = "Future[Scores]"


class Embedder:
    """Micro-batching around a `TextEncoder`, in one worker thread of its own.

    encoder: all-MiniLM-L6-v2 unless given. folder, threads: where the default lies and its torch threads.
    cache_size: vectors of recent questions that are kept; 0 for none. max_batch: questions in one model call.
    """

    def __init__(
        self,
        encoder: TextEncoder | None = None,
        *,
        folder: Path | str | None = None,
        threads: int | None = None,
        cache_size: int = 4096,
        max_batch: int = 256,
    ) -> None:
        if encoder is not None and (folder is not None or threads is not None):
            raise ValueError("folder and threads belong to the default encoder; set them on the given one")
        self._encoder = encoder if encoder is not None else MiniLmEncoder(folder, threads=threads)
        self._cache_size = cache_size
        self._max_batch = max_batch
        self._cache: OrderedDict[str, Scores] = OrderedDict()
        self._queue: list[tuple[str, _Waiting]] = []
        self._lock = threading.Lock()
        self._worker: ThreadPoolExecutor | None = None

    @property
    def name(self) -> str:
        """The model's name."""
        return self._encoder.name

    @property
    def fingerprint(self) -> str:
        """Names the exact weights."""
        return self._encoder.fingerprint

    @property
    def dim(self) -> int:
        """Components of a vector."""
        return self._encoder.dim

    def encode(self, texts: list[str]) -> Scores:
        """Unit vectors of many texts, float32 [n, dim], in the calling thread and past the cache."""
        return self._encoder.encode(texts)

    async def embed(self, questions: list[str]) -> Scores:
        """Unit vectors of `questions`, float32 [n, dim]; shares a model call with what else waits at this moment."""
        if not questions:
            return np.zeros((0, self.dim), dtype=np.float32)
        cached = [self._cached(question) for question in questions]
        missing = [question for question, vector in zip(questions, cached, strict=True) if vector is None]
        found = dict(zip(missing, await self._compute(missing), strict=True)) if missing else {}
        return np.stack(
            [found[question] if vector is None else vector for question, vector in zip(questions, cached, strict=True)]
        )

    def close(self) -> None:
        """Stop the worker thread; a later call starts a new one."""
        with self._lock:
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.shutdown(wait=True)

    async def _compute(self, questions: list[str]) -> list[Scores]:
        waiting = [self._enqueue(question) for question in questions]
        # One turn of the loop lets its other tasks add their questions to the same batch.
        await asyncio.sleep(0)
        self._executor().submit(self._drain)
        return list(await asyncio.gather(*(asyncio.wrap_future(one) for one in waiting)))

    def _enqueue(self, question: str) -> _Waiting:
        future: _Waiting = Future()
        with self._lock:
            self._queue.append((question, future))
        return future

    def _drain(self) -> None:
        while (batch := self._take()) is not None:
            if batch:
                self._run(batch)

    def _take(self) -> list[tuple[str, _Waiting]] | None:
        """The next batch without what was cancelled, which may be all of it; None when nothing waits."""
        with self._lock:
            if not self._queue:
                return None
            taken, self._queue = self._queue[: self._max_batch], self._queue[self._max_batch :]
        return [(question, future) for question, future in taken if future.set_running_or_notify_cancel()]

    def _run(self, batch: list[tuple[str, _Waiting]]) -> None:
        distinct = list(dict.fromkeys(question for question, _ in batch))
        try:
            vectors = dict(zip(distinct, self._encoder.encode(distinct), strict=True))
        except BaseException as error:  # noqa: BLE001  whoever waits gets it, whatever it is
            for _, future in batch:
                future.set_exception(error)
            return
        self._remember(vectors)
        for question, future in batch:
            future.set_result(vectors[question])

    def _cached(self, question: str) -> Scores | None:
        with self._lock:
            vector = self._cache.get(question)
            if vector is not None:
                self._cache.move_to_end(question)
        return vector

    def _remember(self, vectors: dict[str, Scores]) -> None:
        with self._lock:
            self._cache.update(vectors)
            while len(self._cache) > self._cache_size:
                self._cache.popitem(last=False)

    def _executor(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._worker is None:
                self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="slarag-embedder")
            return self._worker
