"""Files of JSON lines with random access: written once, then memory-mapped."""

from __future__ import annotations

import json
import mmap
from array import array
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt


class LineWriter:
    """Appends JSON objects to `path`; `close` writes the offsets of the lines beside it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._offsets = array("q", [0])

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def append(self, row: dict[str, Any]) -> None:
        """Write `row` as a line."""
        line = json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        self._file.write(line)
        self._offsets.append(self._offsets[-1] + len(line))

    def close(self) -> None:
        """Flush the lines and save their offsets."""
        self._file.close()
        np.save(offsets_path(self._path), np.asarray(self._offsets, dtype=np.int64), allow_pickle=False)

    def abandon(self) -> None:
        """Close without saving the offsets; nothing happens after `close`."""
        with suppress(OSError):  # the disk that refuses to write refuses to flush
            self._file.close()


class LineFile:
    """Random access to what a `LineWriter` wrote."""

    def __init__(self, path: Path) -> None:
        self._bytes = MappedBytes(path)
        self._offsets: npt.NDArray[np.int64] = load_array(offsets_path(path))

    def __len__(self) -> int:
        return len(self._offsets) - 1

    def __getitem__(self, row: int) -> dict[str, Any]:
        start, end = int(self._offsets[row]), int(self._offsets[row + 1])
        return json.loads(self._bytes.read(start, end - start))

    def close(self) -> None:
        """Release the mapping."""
        self._bytes.close()


class MappedBytes:
    """A file's bytes, memory-mapped for reading."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def read(self, at: int, length: int) -> bytes:
        """`length` bytes from `at`."""
        return self._map[at : at + length]

    def close(self) -> None:
        """Release the mapping."""
        self._map.close()


def offsets_path(path: Path) -> Path:
    """The file of the offsets of `path`'s lines, int64 [lines + 1]."""
    return path.with_suffix(".offsets.npy")


def load_array(path: Path) -> npt.NDArray[np.int64]:
    """Map an array that was saved without pickle."""
    return np.load(path, mmap_mode="r", allow_pickle=False)
