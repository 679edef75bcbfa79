"""Vectors of passages, computed shard by shard; finished shards survive a killed run."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..ranking import Scores
from .layout import SHARDS, VECTORS
from .manifest import EmbedderIdentity

SHARD = 2048
"""Passages a shard: what an interruption can lose, and the range in which texts are sorted by length."""

_SLICE = 256


@dataclass(frozen=True, kw_only=True, slots=True)
class VectorSource:
    """What the vectors are of.

    texts: the texts of rows `start` to `end`. known: which of these rows, counted from `start`, have a vector already,
    and those vectors. encode: texts to unit vectors, by the embedder of this identity.
    """

    texts: Callable[[int, int], list[str]]
    known: Callable[[int, int], tuple[list[int], Scores]]
    encode: Callable[[list[str]], Scores]
    identity: EmbedderIdentity


class ShardedVectors:
    """The vectors file of a run in `folder`: rows in order, each finished shard noted with a digest of its texts.

    shard: rows of one. embedded, resumed: rows that were computed, and rows that an earlier run had finished.
    """

    def __init__(self, folder: Path, source: VectorSource, *, shard: int = SHARD) -> None:
        self._vectors = folder / VECTORS
        self._log = folder / SHARDS
        self._source = source
        self._shard = shard
        self.embedded = 0
        self.resumed = 0

    def compute(self, total: int, progress: Callable[[int], None]) -> None:
        """Write the vectors of rows 0 to `total`; `progress` gets the number of rows done."""
        self.resumed = self._keep_finished(total)
        progress(self.resumed)
        for start in range(self.resumed, total, self._shard):
            texts = self._source.texts(start, min(start + self._shard, total))
            self._append(self._encode(start, texts, progress), self._digest(texts))

    def _keep_finished(self, total: int) -> int:
        finished = self._finished(total)
        rows = min(len(finished) * self._shard, total)
        with self._vectors.open("ab") as file:
            file.truncate(rows * self._row_bytes)
        self._log.write_text("".join(f"{digest}\n" for digest in finished), encoding="ascii")
        return rows

    def _finished(self, total: int) -> list[str]:
        """The digests of the leading shards that an earlier run finished over the same texts."""
        if not (self._log.is_file() and self._vectors.is_file()):
            return []
        noted = self._log.read_text(encoding="ascii", errors="replace").splitlines()
        stored = self._vectors.stat().st_size // self._row_bytes
        for number, start in enumerate(range(0, total, self._shard)):
            end = min(start + self._shard, total)
            if number >= len(noted) or end > stored or noted[number] != self._digest(self._source.texts(start, end)):
                return noted[:number]
        return noted[: -(-total // self._shard)]

    def _encode(self, start: int, texts: list[str], progress: Callable[[int], None]) -> Scores:
        vectors = np.empty((len(texts), self._source.identity.dim), dtype=np.float32)
        places, found = self._source.known(start, start + len(texts))
        vectors[places] = found
        # Neighbours in length share a model batch, which then holds little padding.
        missing = sorted(set(range(len(texts))) - set(places), key=lambda place: (-len(texts[place]), place))
        for first in range(0, len(missing), _SLICE):
            part = missing[first : first + _SLICE]
            vectors[part] = self._source.encode([texts[place] for place in part])
            self.embedded += len(part)
            progress(start + len(places) + first + len(part))
        return vectors

    def _append(self, vectors: Scores, digest: str) -> None:
        # The vectors are on the disk before the note says so.
        for path, raw in (
            (self._vectors, vectors.astype("<f4", copy=False).tobytes()),
            (self._log, f"{digest}\n".encode()),
        ):
            with path.open("ab") as file:
                file.write(raw)
                file.flush()
                os.fsync(file.fileno())

    def _digest(self, texts: list[str]) -> str:
        digest = hashlib.blake2b(self._source.identity.fingerprint.encode(), digest_size=16)
        for text in texts:
            raw = text.encode()
            digest.update(len(raw).to_bytes(8, "little"))
            digest.update(raw)
        return digest.hexdigest()

    @property
    def _row_bytes(self) -> int:
        return 4 * self._source.identity.dim


def map_vectors(folder: Path, rows: int, dim: int) -> Scores:
    """The finished vectors in `folder`, float32 [rows, dim], memory-mapped."""
    return np.memmap(folder / VECTORS, dtype="<f4", mode="r", shape=(rows, dim))
