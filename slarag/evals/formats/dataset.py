"""A question file after reading."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...sla.evidence import Passage
from ..item import EvalItem
from .detect import DataFormat


@dataclass(frozen=True, kw_only=True, slots=True)
class Dataset:
    """Questions, and the documents that they are asked over.

    documents: gives all source documents, one after the other, each as a passage that starts at 0; a call of it reads
    them afresh, so that a large corpus never stands in memory. It gives none where the file brings no passages.
    digest: SHA-256 of the questions, for knowing the same data again; corpus_digest: of a corpus in a file of its own.
    """

    path: Path
    format: DataFormat
    items: tuple[EvalItem, ...]
    documents: Callable[[], Iterator[Passage]]
    digest: str
    corpus_path: Path | None = None

    @property
    def corpus_digest(self) -> str | None:
        """SHA-256 of `corpus_path`; None without one."""
        return None if self.corpus_path is None else _sha256(self.corpus_path)

    def sample(self, limit: int | None, seed: int) -> tuple[EvalItem, ...]:
        """`limit` items in the order of a seeded hash of their ids: a larger sample contains every smaller one."""
        if limit is None or limit >= len(self.items):
            return self.items
        return tuple(self.ranked(seed)[:limit])

    def ranked(self, seed: int) -> list[EvalItem]:
        """All items in the order of a seeded hash of their ids."""
        return sorted(self.items, key=lambda item: _rank(item.item_id, seed))


def document(title: str, text: str, *, document_id: str = "") -> Passage:
    """A source document as one passage; without an id it is named by a digest of its title and text."""
    name = document_id or hashlib.sha256(f"{title}\n{text}".encode()).hexdigest()[:16]
    return Passage(passage_id=name, document_id=name, text=text, title=title)


def own_documents(items: Iterable[EvalItem]) -> Iterator[Passage]:
    """The distinct passages that the items bring, in the order of their first appearance."""
    seen: set[str] = set()
    for item in items:
        for passage in item.passages:
            if passage.document_id not in seen:
                seen.add(passage.document_id)
                yield passage


def file_digest(path: Path) -> str:
    """SHA-256 of a file, or of a folder's questions and judgements."""
    if not path.is_dir():
        return _sha256(path)
    parts = [*sorted(path.glob("queries.jsonl*")), *sorted(path.glob("qrels/*.tsv"))]
    return hashlib.sha256("".join(map(_sha256, parts)).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _rank(item_id: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}:{item_id}".encode()).digest()
