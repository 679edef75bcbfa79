"""An index over all documents of a data set, so that retrieval is measured against every passage of the file."""

from __future__ import annotations

import filecmp
import json
from collections.abc import Iterator
from pathlib import Path

from ..sla.errors import IndexFolderError
from ..sla.evidence import Passage
from .folder import refused
from .settings import OnProgress, Progress

PASSAGE_CHARACTERS = 1_500
"""Paragraphs up to this long stay whole, so that finding the gold paragraph means something."""


def build(documents: Iterator[Passage], folder: Path, tell: OnProgress) -> Path:
    """The index in `folder`/index over `documents`, each under its own id; one that is there and fits is kept.

    Raises `CorpusError` and `StorageError`.
    """
    from ..retrievers.index import build_index
    from ..retrievers.splitter import Splitter

    corpus, target = folder / "corpus.jsonl", folder / "index"
    unchanged = _write_if_changed(documents, corpus)
    if unchanged and _opens(target):
        return target
    splitter = Splitter(size=PASSAGE_CHARACTERS)

    def progress(done: int, total: int, phase: str) -> None:
        tell(Progress(stage=f"index: {phase}", done=done, total=total))

    build_index([corpus], target, splitter=splitter, progress=progress)
    return target


def _write_if_changed(documents: Iterator[Passage], path: Path) -> bool:
    """Write the corpus file; whether it was there with the same content."""
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("w", encoding="utf-8") as lines:
            for document in documents:
                row = {"doc_id": document.document_id, "title": document.title, "text": document.text}
                lines.write(json.dumps(row, ensure_ascii=False) + "\n")
        unchanged = path.is_file() and filecmp.cmp(path, part, shallow=False)
        part.replace(path)
    except OSError as error:
        raise refused(path, error) from error
    return unchanged


def _opens(folder: Path) -> bool:
    from ..retrievers.index import Index

    try:
        Index.open(folder).close()
    except IndexFolderError:
        return False
    return True
