"""One build of an index: first all texts go to the disk, then what is computed from them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from ..dense import APPROXIMATE_ABOVE, HnswIndex
from ..lexical import LexicalIndex
from ..loaders import Corpus, Skipped
from ..ranking import Scores
from ..searchable import searchable
from ..splitter import Splitter
from ..tokens import TOKENIZER
from .index import Index
from .layout import DENSE, LEXICAL, SHARDS
from .manifest import EmbedderIdentity, Manifest, SplitterSettings, checksums, write_manifest
from .progress import Progress, Reporter
from .records import DocumentRecord, content_digest
from .report import BuildReport
from .shards import ShardedVectors, VectorSource, map_vectors
from .staging import publish
from .store import Store, StoreWriter

if TYPE_CHECKING:
    from langchain_core.documents import Document

_TOLD_EVERY = 512


class BuildRun:
    """Writes an index into `staging` and puts it in place of what `folder` holds.

    previous: the index whose unchanged documents are copied with their vectors.
    """

    def __init__(
        self,
        folder: Path,
        staging: Path,
        identity: EmbedderIdentity,
        splitter: Splitter,
        progress: Progress | None,
        *,
        previous: Index | None,
    ) -> None:
        self._folder = folder
        self._staging = staging
        self._identity = identity
        self._splitter = splitter
        self._reporter = Reporter(progress)
        self._previous = previous
        self._known = {record.document_id: record for record in previous.store.all_documents()} if previous else {}
        self._digests: dict[str, str] = {}
        self._old_rows = array("q")  # per new row, its row in the previous index, or -1
        self._writer = StoreWriter(staging)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.abandon()
        if self._previous is not None:
            self._previous.close()

    def read(self, corpus: Corpus) -> None:
        """Write the documents of `corpus`; those that did not change are copied."""
        for document in corpus.documents(on_file=lambda done, total: self._reporter.tell(done, total, "read")):
            self._take(document, corpus)

    def keep_rest(self, unwanted: Iterable[str] = ()) -> None:
        """Copy the documents of the previous index that were not read again and are not `unwanted`."""
        without = set(unwanted)
        for name, record in self._known.items():
            if name not in self._digests and name not in without:
                self._copy(record)

    def finish(self, encode: Callable[[list[str]], Scores], skipped: Sequence[Skipped]) -> BuildReport:
        """Compute vectors and search structures, and put the new index in place."""
        self._writer.close()
        store = Store(self._staging)
        total = store.passages
        source = VectorSource(
            texts=lambda start, end: list(_texts(store, range(start, end))),
            known=self._known_vectors,
            encode=encode,
            identity=self._identity,
        )
        shards = ShardedVectors(self._staging, source)
        shards.compute(total, self._reporter.counter("embed", total))
        self._write_lexical(store, total)
        dense = self._write_dense(total)
        store.close()
        self._put_in_place(dense)
        return BuildReport(
            folder=self._folder,
            documents=self._writer.documents,
            passages=total,
            embedded=shards.embedded,
            reused=sum(row >= 0 for row in self._old_rows),
            resumed=shards.resumed,
            skipped=tuple(skipped),
        )

    def _take(self, document: Document, corpus: Corpus) -> None:
        name, title = str(document.metadata["document_id"]), str(document.metadata["title"])
        digest = content_digest(title, document.page_content)
        if name in self._digests:
            if self._digests[name] != digest:
                corpus.skip(
                    str(document.metadata["source"]), f"document id {name!r} was given before with another text"
                )
            return
        known = self._known.get(name)
        if known is not None and known.digest == digest:
            self._copy(known)
            return
        spans = list(self._splitter.spans(document.page_content))
        self._old_rows.extend([-1] * len(spans))
        self._digests[name] = digest
        self._writer.write(
            document_id=name,
            title=title,
            source=str(document.metadata["source"]),
            digest=digest,
            text=document.page_content,
            spans=spans,
        )

    def _copy(self, record: DocumentRecord) -> None:
        assert self._previous is not None
        store = self._previous.store
        self._old_rows.extend(range(record.first, record.first + record.passages))
        self._digests[record.document_id] = record.digest
        self._writer.write(
            document_id=record.document_id,
            title=record.title,
            source=record.source,
            digest=record.digest,
            text=store.document_text(record),
            spans=store.spans(record),
        )

    def _known_vectors(self, start: int, end: int) -> tuple[list[int], Scores]:
        old = np.asarray(self._old_rows[start:end], dtype=np.int64)
        places = np.flatnonzero(old >= 0)
        if self._previous is None or not len(places):
            return [], np.zeros((0, self._identity.dim), dtype=np.float32)
        return places.tolist(), self._previous.vectors[old[places]]

    def _write_lexical(self, store: Store, total: int) -> None:
        tell = self._reporter.counter("lexical", total)
        tell(0)
        LexicalIndex.build(_told(_texts(store, range(total)), tell)).save(self._staging / LEXICAL)
        tell(total)

    def _write_dense(self, total: int) -> Literal["exact", "hnsw"]:
        if total <= APPROXIMATE_ABOVE:
            return "exact"
        vectors = map_vectors(self._staging, total, self._identity.dim)
        HnswIndex.build(vectors, self._reporter.counter("dense", total)).save(self._staging / DENSE)
        return "hnsw"

    def _put_in_place(self, dense: Literal["exact", "hnsw"]) -> None:
        total = self._writer.passages
        self._reporter.tell(0, total, "write")
        (self._staging / SHARDS).unlink()
        files = checksums(self._staging)
        manifest = Manifest(
            data=publish(self._folder, self._staging),
            documents=self._writer.documents,
            passages=total,
            embedder=self._identity,
            splitter=SplitterSettings(size=self._splitter.size, overlap=self._splitter.overlap),
            tokenizer=TOKENIZER,
            dense=dense,
            files=files,
        )
        write_manifest(self._folder, manifest)
        self._reporter.tell(total, total, "write")


def _texts(store: Store, rows: range) -> Iterator[str]:
    for row in rows:
        passage = store.passage(row)
        yield searchable(passage.title, passage.text)


def _told(texts: Iterator[str], tell: Callable[[int], None]) -> Iterator[str]:
    for done, text in enumerate(texts):
        if done % _TOLD_EVERY == 0:
            tell(done)
        yield text
