"""An index that is open for searching."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from ...sla.errors import IndexFolderError
from ...sla.evidence import Passage
from ...sla.plan import RetrievalMethod
from ..dense import DenseIndex, ExactIndex, HnswIndex
from ..embedder import Embedder
from ..fusion import reciprocal_rank_fusion
from ..lexical import LexicalIndex
from ..ranking import Rows, Scores
from ..tokens import TOKENIZER
from .layout import DENSE, LEXICAL
from .manifest import REBUILD, Manifest, read_manifest, verify
from .shards import map_vectors
from .store import Store

_FUSED_PER_PASSAGE = 4
_FUSED_AT_LEAST = 50


class Index:
    """Searches an index folder; safe from several threads. Most of it is memory-mapped, so opening is fast."""

    def __init__(
        self,
        *,
        folder: Path,
        manifest: Manifest,
        store: Store,
        vectors: Scores,
        dense: DenseIndex,
        lexical: LexicalIndex,
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.store = store
        self.vectors = vectors
        self._dense = dense
        self._lexical = lexical

    @classmethod
    def open(cls, folder: Path | str, *, verify_contents: bool | None = None) -> Self:
        """Open the index in `folder`.

        verify_contents: compare the checksums of all files; None does so unless the index is very large.
        Raises `IndexFolderError` when it is missing, unfinished, damaged or of another format.
        """
        path = Path(folder)
        manifest = read_manifest(path)
        try:
            return cls._checked(path, manifest, verify_contents)
        except IndexFolderError:
            # A writer may have put a new generation in place between the manifest and its files.
            newer = read_manifest(path)
            if newer.data == manifest.data:
                raise
            return cls._checked(path, newer, verify_contents)

    @classmethod
    def _checked(cls, path: Path, manifest: Manifest, verify_contents: bool | None) -> Self:
        if manifest.tokenizer != TOKENIZER:
            raise IndexFolderError(
                f"{str(path)!r} has words of {manifest.tokenizer!r}, not {TOKENIZER!r}", remedy=REBUILD
            )
        verify(path, manifest, contents=verify_contents)
        try:
            return cls._load(path, manifest)
        except (OSError, ValueError, KeyError, RuntimeError) as error:
            raise IndexFolderError(f"{str(path)!r} cannot be opened ({error})", remedy=REBUILD) from None

    @classmethod
    def _load(cls, folder: Path, manifest: Manifest) -> Self:
        data = folder / manifest.data
        vectors = map_vectors(data, manifest.passages, manifest.embedder.dim)
        exact = manifest.dense == "exact"
        return cls(
            folder=folder,
            manifest=manifest,
            store=Store(data),
            vectors=vectors,
            dense=ExactIndex(vectors) if exact else HnswIndex.load(data / DENSE, vectors),
            lexical=LexicalIndex.load(data / LEXICAL),
        )

    def __len__(self) -> int:
        """Number of passages."""
        return self.store.passages

    def search(self, question: str, *, method: RetrievalMethod, k: int, vector: Scores | None = None) -> list[Passage]:
        """The best `k` passages, best first, ties by passage id. `vector`, float32 [dim], is needed unless lexical."""
        if k < 1:
            raise ValueError(f"k {k!r} is not at least 1")
        if method != "lexical" and vector is None:
            raise ValueError(f"{method} search needs the vector of the question")
        rows, scores = self._rank(question, method, k, vector)
        return [self.store.passage(row, score) for row, score in zip(rows.tolist(), scores.tolist(), strict=True)]

    def require(self, embedder: Embedder) -> None:
        """Raise `IndexFolderError` unless `embedder` made this index."""
        made_by = self.manifest.embedder
        if made_by.fingerprint != embedder.fingerprint:
            raise IndexFolderError(
                f"{str(self.folder)!r} was made with the embedder {made_by.name!r} ({made_by.fingerprint[:8]}), "
                f"not with {embedder.name!r} ({embedder.fingerprint[:8]})",
                remedy=f"use that embedder, or {REBUILD}",
            )

    def document_ids(self) -> list[str]:
        """The ids of all documents, sorted."""
        return sorted(record.document_id for record in self.store.all_documents())

    def source_text(self, document_id: str) -> str | None:
        """The extracted text of a document; None if there is no such document."""
        record = self.store.document(document_id)
        return self.store.document_text(record) if record is not None else None

    def close(self) -> None:
        """Release the mapped files; the index cannot be searched afterwards."""
        self.store.close()

    def _rank(self, question: str, method: RetrievalMethod, k: int, vector: Scores | None) -> tuple[Rows, Scores]:
        ranks = self.store.ranks
        if vector is None or method == "lexical":
            return self._lexical.search(question, k, ranks)
        if method == "dense":
            return self._dense.search(vector, k, ranks)
        depth = max(_FUSED_AT_LEAST, _FUSED_PER_PASSAGE * k)
        lexical = self._lexical.search(question, depth, ranks)[0]
        dense = self._dense.search(vector, depth, ranks)[0]
        return reciprocal_rank_fusion([lexical, dense], ranks, k)
