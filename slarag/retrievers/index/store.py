"""The documents and passages of an index: written as they are read, then memory-mapped."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

import numpy as np

from ...sla.evidence import Passage
from ..ranking import Ranks, id_ranks
from .layout import DOCUMENT_ORDER, DOCUMENTS, PASSAGE_RANKS, PASSAGES, SOURCES
from .lines import LineFile, LineWriter, MappedBytes, load_array
from .records import DocumentRecord, PassageRecord, passage_id


class StoreWriter:
    """Writes documents and their passages into `folder`, one document at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sources = (folder / SOURCES).open("wb")
        self._at = 0
        self._documents = LineWriter(folder / DOCUMENTS)
        self._passages = LineWriter(folder / PASSAGES)
        self._document_ids: list[str] = []
        self._passage_ids: list[str] = []

    @property
    def documents(self) -> int:
        """Documents written."""
        return len(self._documents)

    @property
    def passages(self) -> int:
        """Passages written, which is the next one's row."""
        return len(self._passages)

    def write(
        self, *, document_id: str, title: str, source: str, digest: str, text: str, spans: Sequence[tuple[int, int]]
    ) -> None:
        """Append a document whose passages are the character ranges `spans` of its `text`, in order."""
        raw = text.encode()
        first = self.passages
        for number, (start, at, length) in enumerate(_byte_ranges(text, spans)):
            self._passage_ids.append(passage_id(document_id, number))
            record = PassageRecord(
                passage_id=self._passage_ids[-1],
                document_id=document_id,
                title=title,
                start=start,
                at=self._at + at,
                length=length,
            )
            self._passages.append(asdict(record))
        self._document_ids.append(document_id)
        document = DocumentRecord(
            document_id=document_id,
            title=title,
            source=source,
            digest=digest,
            at=self._at,
            length=len(raw),
            first=first,
            passages=len(spans),
        )
        self._documents.append(asdict(document))
        self._sources.write(raw)
        self._at += len(raw)

    def close(self) -> None:
        """Finish the files and save the orders."""
        self._sources.close()
        self._documents.close()
        self._passages.close()
        order = sorted(range(len(self._document_ids)), key=self._document_ids.__getitem__)
        np.save(self._folder / DOCUMENT_ORDER, np.asarray(order, dtype=np.int64), allow_pickle=False)
        np.save(self._folder / PASSAGE_RANKS, id_ranks(self._passage_ids), allow_pickle=False)

    def abandon(self) -> None:
        """Close the files as they are; nothing happens after `close`."""
        with suppress(OSError):  # the disk that refuses to write refuses to flush
            self._sources.close()
        self._documents.abandon()
        self._passages.abandon()


def _byte_ranges(text: str, spans: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int, int]]:
    """`(start, byte offset, byte length)` of every span; starts must not fall."""
    character, offset = 0, 0
    for start, end in spans:
        offset += len(text[character:start].encode())
        character = start
        yield start, offset, len(text[start:end].encode())


class Store:
    """The documents and passages in `folder`, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self._sources = MappedBytes(folder / SOURCES)
        self._documents = LineFile(folder / DOCUMENTS)
        self._passages = LineFile(folder / PASSAGES)
        self._order = load_array(folder / DOCUMENT_ORDER)
        self.ranks: Ranks = load_array(folder / PASSAGE_RANKS)

    @property
    def documents(self) -> int:
        """Number of documents."""
        return len(self._documents)

    @property
    def passages(self) -> int:
        """Number of passages."""
        return len(self._passages)

    def all_documents(self) -> Iterator[DocumentRecord]:
        """Every document, in the order of storage."""
        return (DocumentRecord(**self._documents[row]) for row in range(self.documents))

    def document(self, document_id: str) -> DocumentRecord | None:
        """The document of that id; None if there is none."""
        place = bisect_left(self._order, document_id, key=self._document_id)
        if place == self.documents:
            return None
        record = DocumentRecord(**self._documents[int(self._order[place])])
        return record if record.document_id == document_id else None

    def document_text(self, record: DocumentRecord) -> str:
        """The extracted text of a document."""
        return self._sources.read(record.at, record.length).decode()

    def spans(self, record: DocumentRecord) -> list[tuple[int, int]]:
        """The character ranges of a document's passages."""
        rows = range(record.first, record.first + record.passages)
        return [(passage.start, passage.start + len(passage.text)) for passage in map(self.passage, rows)]

    def passage(self, row: int, score: float = 0.0) -> Passage:
        """The passage of a row."""
        record = PassageRecord(**self._passages[row])
        return Passage(
            passage_id=record.passage_id,
            document_id=record.document_id,
            text=self._sources.read(record.at, record.length).decode(),
            title=record.title,
            start=record.start,
            score=score,
        )

    def close(self) -> None:
        """Release the mappings."""
        self._sources.close()
        self._documents.close()
        self._passages.close()

    def _document_id(self, row: int) -> str:
        return str(self._documents[int(row)]["document_id"])
