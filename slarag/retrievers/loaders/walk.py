"""Finds the files of a corpus, in an order that does not depend on the file system."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...sla.errors import CorpusError

KNOWN_ENDINGS = (
    *(".txt", ".text", ".rst", ".md", ".markdown", ".html", ".htm", ".xhtml", ".pdf"),
    *(".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz"),
)
INDEX_MARK = ".slarag-index.lock"
"""The lock file of an index folder; where it lies, nothing is a document."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFile:
    """A file and the document id that it has: its path below the folder that was given, with forward slashes."""

    path: Path
    document_id: str


def find_files(paths: Sequence[Path | str]) -> list[SourceFile]:
    """The files of `paths`: files as they are, folders walked and sorted by path.

    In a folder, hidden entries, files of other endings and index folders are left out. With several paths every
    document id begins with the name of its path, and with as many of the folders above it as tell it from the others.
    Raises `CorpusError` for a path that is not there and for no file.
    """
    several = [Path(path) for path in paths]
    if not several:
        raise CorpusError("no path of documents was given", remedy="name a folder or a file")
    names = _names(several)
    files = [file for path in several for file in _of_path(path, names[path.resolve()], len(names) > 1)]
    if not files:
        named = ", ".join(repr(str(path)) for path in several)
        raise CorpusError(f"no documents in {named}", remedy=f"put files there that end in {' '.join(KNOWN_ENDINGS)}")
    return _distinct(files)


def _names(paths: Sequence[Path]) -> dict[Path, str]:
    """For each path its last parts, as many as no other path ends in."""
    whole = list(dict.fromkeys(path.resolve() for path in paths))
    names: dict[Path, str] = {}
    for path in whole:
        others = {other.parts for other in whole if other != path}
        count = 1
        while any(other[-count:] == path.parts[-count:] for other in others) and count < len(path.parts):
            count += 1
        names[path] = _text("/".join(part for part in path.parts[-count:] if part != path.anchor))
    return names


def _of_path(path: Path, name: str, is_one_of_several: bool) -> list[SourceFile]:
    if path.is_dir():
        prefix = f"{name}/" if is_one_of_several else ""
        found = sorted(_walk(path), key=lambda file: file.relative_to(path).as_posix())
        return [SourceFile(path=file, document_id=prefix + _text(file.relative_to(path).as_posix())) for file in found]
    if path.is_file():
        return [SourceFile(path=path, document_id=name)]
    reason = "is neither a file nor a folder" if path.exists() else "does not exist"
    raise CorpusError(f"{str(path)!r} {reason}", remedy="check the path")


def _text(name: str) -> str:
    """A file's name as text: bytes of it that are not UTF-8 stand there as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _walk(root: Path) -> Iterator[Path]:
    for folder, subfolders, names in os.walk(root):
        here = Path(folder)
        if INDEX_MARK in names:
            subfolders.clear()
            continue
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in names:
            if not name.startswith(".") and name.lower().endswith(KNOWN_ENDINGS) and (here / name).is_file():
                yield here / name


def _distinct(files: list[SourceFile]) -> list[SourceFile]:
    seen: dict[Path, SourceFile] = {}
    for file in files:
        seen.setdefault(file.path.resolve(), file)
    return list(seen.values())
