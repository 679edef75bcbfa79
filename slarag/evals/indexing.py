"""An index over all documents of a data set, so that retrieval is measured against every passage of the file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

from ..sla.atomic import write_atomically
from ..sla.errors import DataError, IndexFolderError
from ..sla.evidence import Passage
from .folder import refused
from .settings import OnProgress, Progress

PASSAGE_CHARACTERS = 1_500
"""Paragraphs up to this long stay whole, so that finding the gold paragraph means something."""


def build(documents: Iterator[Passage], folder: Path, tell: OnProgress) -> Path:
    """The index in `folder`/index over `documents`, each under its own id; one that is there and fits is kept.

    Raises `CorpusError`, `StorageError` and, for an id that two texts have, `DataError`.
    """
    from ..retrievers.index import build_index
    from ..retrievers.splitter import Splitter

    corpus, target, stamp = folder / "corpus.jsonl", folder / "index", folder / "index.sha256"
    digest = _write(documents, corpus)
    if _stamped(stamp) == digest and _opens(target):
        return target
    splitter = Splitter(size=PASSAGE_CHARACTERS)

    def progress(done: int, total: int, phase: str) -> None:
        tell(Progress(stage=f"index: {phase}", done=done, total=total))

    build_index([corpus], target, splitter=splitter, progress=progress)
    write_atomically(stamp, digest)  # last of all: an index of another corpus may have been there before
    return target


def _write(documents: Iterator[Passage], path: Path) -> str:
    """Write the corpus file; its SHA-256."""
    part = path.with_name(path.name + ".part")
    texts: dict[str, bytes] = {}
    whole = hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as lines:
            for document in documents:
                row = {"doc_id": document.document_id, "title": document.title, "text": document.text}
                line = json.dumps(row, ensure_ascii=False).encode() + b"\n"
                digest = hashlib.sha256(line).digest()
                if texts.setdefault(document.document_id, digest) != digest:
                    raise DataError(
                        f"the corpus has two texts under the id {document.document_id!r}",
                        remedy="give each document an id of its own",
                    )
                whole.update(line)
                lines.write(line)
        part.replace(path)
    except OSError as error:
        raise refused(path, error) from error
    return whole.hexdigest()


def _stamped(stamp: Path) -> str:
    return stamp.read_text(encoding="utf-8") if stamp.is_file() else ""


def _opens(folder: Path) -> bool:
    from ..retrievers.index import Index

    try:
        Index.open(folder).close()
    except IndexFolderError:
        return False
    return True
