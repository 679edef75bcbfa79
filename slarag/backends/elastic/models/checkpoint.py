"""Reading a folder of safetensors files tensor by tensor, into memory that the caller owns.

The format is public (huggingface/safetensors): eight bytes with the header's length, a JSON header, the data.
Reading it here lets a tensor land in a device's arena without a copy in between, and the manager do without torch.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from .config import BYTES_OF
from .layout import Part, TensorSpec

_MAX_HEADER_BYTES = 100_000_000
SCALE = ".scale"
_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a tensor lies. offset: bytes from the file's start."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int
    num_bytes: int

    def part(self, index: int) -> Entry:
        """One of the tensors that are stacked in this one."""
        num_bytes = self.num_bytes // self.shape[0]
        return Entry(self.file, self.dtype, self.shape[1:], self.offset + index * num_bytes, num_bytes)


class Checkpoint:
    """An opened folder. `name[i]` is the i-th of the tensors that are stacked in `name`.

    `tensors_read` counts reads by tensor, so that a test can hold "each once".
    """

    def __init__(self, folder: Path, entries: dict[str, Entry]) -> None:
        self.folder = folder
        self._entries = entries
        self._files: dict[Path, int] = {}
        self.tensors_read: dict[str, int] = {}

    @classmethod
    def open(cls, folder: Path) -> Checkpoint:
        """Read the headers of all shards; raises `CheckpointError` for a folder without readable safetensors."""
        entries: dict[str, Entry] = {}
        for file in _shards(folder):
            entries.update(_read_header(file))
        return cls(folder, entries)

    @property
    def names(self) -> frozenset[str]:
        """The tensors that it has."""
        return frozenset(self._entries)

    def fill(self, spec: TensorSpec, target: memoryview, dtype: str) -> None:
        """Fill `target` (bytes of `spec` as `dtype`) with the parts of `spec`; raises `CheckpointError`."""
        size = BYTES_OF[dtype]
        for part in spec.parts:
            self.read_into(part, target[part.start * size : (part.start + part.elements) * size], dtype)

    def read_into(self, part: Part, target: memoryview, dtype: str) -> None:
        """Fill `target` (bytes) with the tensor that `part` names as `dtype`, converted where the file differs."""
        entry = self._find(part.source)
        if entry is None or entry.shape != part.shape:
            found = "missing" if entry is None else f"of shape {entry.shape}"
            raise CheckpointError(
                f"tensor {part.source!r} is {found}, config.json asks for {part.shape}",
                remedy="config.json and the weights must be of the same model",
            )
        self.tensors_read[part.source] = self.tensors_read.get(part.source, 0) + 1
        scale = self._find(part.source, SCALE)
        if scale is not None:
            self._read_and_scale(entry, scale, target, dtype)
        elif _DTYPES.get(entry.dtype) == dtype:
            self._read(entry, target)
        else:
            self._read_and_convert(entry, target, dtype)

    def _find(self, source: str, ending: str = "") -> Entry | None:
        name, _, index = source.removesuffix("]").partition("[")
        entry = self._entries.get(name + ending)
        return entry.part(int(index)) if entry is not None and index else entry

    def _read(self, entry: Entry, target: memoryview) -> None:
        file = self._files.get(entry.file)
        if file is None:
            file = self._files[entry.file] = os.open(entry.file, os.O_RDONLY | os.O_CLOEXEC)
        done = 0
        while done < entry.num_bytes:
            count = os.preadv(file, [target[done:]], entry.offset + done)
            if count == 0:
                raise CheckpointError(f"file {str(entry.file)!r} is cut short", remedy="download it again")
            done += count

    def _read_and_convert(self, entry: Entry, target: memoryview, dtype: str) -> None:
        if (entry.dtype, dtype) == ("BF16", "float32"):
            self._read_and_widen(entry, target)
            return
        import torch

        if entry.dtype not in _DTYPES:
            raise CheckpointError(f"tensors of type {entry.dtype!r} are not served", remedy="convert to BF16 or F32")
        raw = bytearray(entry.num_bytes)
        self._read(entry, memoryview(raw))
        source = torch.frombuffer(raw, dtype=getattr(torch, _DTYPES[entry.dtype]))
        torch.frombuffer(target, dtype=getattr(torch, dtype)).copy_(source)

    def _read_and_scale(self, entry: Entry, scale: Entry, target: memoryview, dtype: str) -> None:
        """A matrix in int8, a scale a row (the embedded reader's)."""
        import torch

        raw, scales = bytearray(entry.num_bytes), bytearray(scale.num_bytes)
        self._read(entry, memoryview(raw))
        self._read(scale, memoryview(scales))
        rows = torch.frombuffer(scales, dtype=torch.float32).view(*scale.shape, 1)
        values = torch.frombuffer(raw, dtype=torch.int8).view(entry.shape).float() * rows
        torch.frombuffer(target, dtype=getattr(torch, dtype)).copy_(values.view(-1))

    def _read_and_widen(self, entry: Entry, target: memoryview) -> None:
        """A bfloat16 is the upper half of its float32."""
        raw = memoryview(bytearray(entry.num_bytes))
        self._read(entry, raw)
        halves = target.cast("B").cast("H")
        halves[0::2] = memoryview(bytes(entry.num_bytes)).cast("H")
        halves[1::2] = raw.cast("H")

    def close(self) -> None:
        """Close the files; reading again reopens them."""
        for file in self._files.values():
            os.close(file)
        self._files.clear()


def _shards(folder: Path) -> list[Path]:
    if (folder / "reader.json").exists():
        from ...reader.parent import parent_folder

        return [folder / "reader.safetensors", parent_folder() / "model.safetensors"]
    index = folder / "model.safetensors.index.json"
    if index.exists():
        return sorted({folder / name for name in _weight_map(index).values()})
    single = folder / "model.safetensors"
    if not single.exists():
        raise CheckpointError(
            f"no model.safetensors in {str(folder)!r}", remedy="name a folder with safetensors weights"
        )
    return [single]


def _weight_map(index: Path) -> dict[str, str]:
    try:
        return dict(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"cannot read {str(index)!r}: {error!r}", remedy="download it again") from error


def _read_header(file: Path) -> dict[str, Entry]:
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if not 2 <= length <= _MAX_HEADER_BYTES:
                raise CheckpointError(f"file {str(file)!r} is no safetensors file", remedy="download it again")
            header = dict(json.loads(stream.read(length)))
        header.pop("__metadata__", None)
        return {name: _entry(file, 8 + length, fields) for name, fields in header.items()}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise CheckpointError(f"cannot read {str(file)!r}: {error}", remedy="download it again") from error


def _entry(file: Path, base: int, fields: dict[str, Any]) -> Entry:
    start, end = fields["data_offsets"]
    return Entry(file, fields["dtype"], tuple(fields["shape"]), base + start, end - start)
