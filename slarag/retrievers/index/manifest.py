"""The manifest: what an index is, and the checksums of its files."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...sla.errors import IndexFolderError
from .layout import MANIFEST

FORMAT = 1
REBUILD = "build it again with: slarag index PATH -o DIR"
VERIFY_UP_TO = 256 * 1024 * 1024
"""Bytes: up to here opening an index compares all checksums (about 0.3 s), above it only the sizes of the files."""

_BLOCK = 1024 * 1024


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class EmbedderIdentity(_Part):
    """Whose vectors the index holds."""

    name: str
    fingerprint: str
    dim: int


class SplitterSettings(_Part):
    """How documents were cut; characters."""

    size: int
    overlap: int


class FileChecksum(_Part):
    """The size of a file and its BLAKE2b digest (16 bytes, hexadecimal)."""

    bytes: int
    blake2b: str


class Manifest(_Part):
    """data: the folder of the generation. files: by path below that folder."""

    format: Literal[1] = FORMAT
    data: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    documents: Annotated[int, Field(ge=1)]
    passages: Annotated[int, Field(ge=1)]
    embedder: EmbedderIdentity
    splitter: SplitterSettings
    tokenizer: str
    dense: Literal["exact", "hnsw"]
    files: dict[str, FileChecksum]


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the index in `folder`; raises `IndexFolderError` when there is none that serves."""
    path = folder / MANIFEST
    try:
        raw = json.loads(path.read_bytes())
    except FileNotFoundError:
        reason = "does not exist" if not folder.exists() else "holds no finished index"
        raise IndexFolderError(f"{str(folder)!r} {reason}", remedy="make it with: slarag index PATH -o DIR") from None
    except NotADirectoryError:
        raise IndexFolderError(f"{str(folder)!r} is not a folder", remedy="name the folder of an index") from None
    except (OSError, ValueError, RecursionError) as error:
        raise IndexFolderError(f"cannot read {str(path)!r} ({_first_line(error)})", remedy=REBUILD) from None
    found = raw.get("format") if isinstance(raw, dict) else None
    if found != FORMAT:
        raise IndexFolderError(
            f"{str(folder)!r} has index format {found!r} and this version reads {FORMAT}", remedy=REBUILD
        )
    try:
        return Manifest.model_validate(raw)
    except ValidationError as error:
        key = ".".join(str(part) for part in error.errors()[0]["loc"])
        raise IndexFolderError(f"{str(path)!r} is damaged at {key!r}", remedy=REBUILD) from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Move `manifest` into place, after which the index is the new one."""
    temporary = folder / f"{MANIFEST}.new"
    with temporary.open("w", encoding="utf-8") as file:
        file.write(json.dumps(manifest.model_dump(), indent=2, ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, folder / MANIFEST)
    _sync_folder(folder)


def checksums(data: Path) -> dict[str, FileChecksum]:
    """The checksums of every file below `data`, which are flushed to the disk."""
    files = sorted(path for path in data.rglob("*") if path.is_file())
    return {path.relative_to(data).as_posix(): _checksum(path, flush=True) for path in files}


def verify(folder: Path, manifest: Manifest, *, contents: bool | None) -> None:
    """Compare the files with the manifest; raises `IndexFolderError` naming the first that differs.

    contents: also compare checksums; None does so for indexes of at most `VERIFY_UP_TO` bytes.
    """
    total = sum(expected.bytes for expected in manifest.files.values())
    deep = contents if contents is not None else total <= VERIFY_UP_TO
    for name, expected in manifest.files.items():
        path = folder / manifest.data / name
        try:
            found = path.stat().st_size
            same = found == expected.bytes and (not deep or _checksum(path) == expected)
        except OSError as error:
            raise IndexFolderError(f"cannot read {str(path)!r} ({error.strerror})", remedy=REBUILD) from None
        if not same:
            detail = f"{found} bytes instead of {expected.bytes}" if found != expected.bytes else "another checksum"
            raise IndexFolderError(f"{str(path)!r} is damaged: {detail}", remedy=REBUILD)


def _checksum(path: Path, *, flush: bool = False) -> FileChecksum:
    digest = hashlib.blake2b(digest_size=16)
    size = 0
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
            size += len(block)
        if flush:
            os.fsync(file.fileno())
    return FileChecksum(bytes=size, blake2b=digest.hexdigest())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
