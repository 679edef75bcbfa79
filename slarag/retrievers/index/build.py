"""Builds an index, adds documents to it and removes some."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ...sla.errors import CorpusError, IndexFolderError, SlaragError
from ..embedder import Embedder
from ..loaders import Corpus
from ..ranking import Scores
from ..splitter import Splitter
from .index import Index
from .manifest import EmbedderIdentity
from .progress import Progress
from .report import BuildReport
from .run import BuildRun
from .staging import building


def build_index(
    paths: Sequence[Path | str] | Path | str,
    folder: Path | str,
    *,
    embedder: Embedder | None = None,
    splitter: Splitter | None = None,
    progress: Progress | None = None,
    strict: bool = False,
) -> BuildReport:
    """Make `folder` the index of exactly the documents under `paths`.

    Documents that are unchanged in an index that is there keep their vectors; an interrupted run goes on where it was.
    strict: the first unreadable file raises; otherwise it is skipped and listed in the report. Raises `CorpusError` if
    nothing can be read, `IndexFolderError` when `folder` cannot take an index, `StorageError` when the disk refuses.
    """
    corpus = Corpus(paths, strict=strict)
    corpus.files  # noqa: B018  raises before the folder is touched
    target, by, cut = Path(folder), embedder or Embedder(), splitter or Splitter()
    with (
        building(target) as staging,
        BuildRun(target, staging, _identity_of(by), cut, progress, previous=_reusable(target, by, cut)) as run,
    ):
        run.read(corpus)
        return run.finish(by.encode, corpus.skipped)


def add(
    folder: Path | str,
    paths: Sequence[Path | str] | Path | str,
    *,
    embedder: Embedder | None = None,
    progress: Progress | None = None,
    strict: bool = False,
) -> BuildReport:
    """Add the documents under `paths` to the index in `folder`; one of an id that is there replaces it.

    Raises as `build_index`, and `IndexFolderError` when there is no index or it is of another embedder.
    """
    corpus = Corpus(paths, strict=strict)
    corpus.files  # noqa: B018  raises before the folder is touched
    target, by = Path(folder), embedder or Embedder()
    _opened(target, lambda index: index.require(by)).close()
    with building(target) as staging:
        previous = _opened(target, lambda index: index.require(by))
        with BuildRun(target, staging, _identity_of(by), _splitter_of(previous), progress, previous=previous) as run:
            run.read(corpus)
            run.keep_rest()
            return run.finish(by.encode, corpus.skipped)


def remove(folder: Path | str, document_ids: Iterable[str] | str, *, progress: Progress | None = None) -> BuildReport:
    """Remove documents from the index in `folder`.

    Raises `CorpusError` for an id that is not there and when none would be left.
    """
    target = Path(folder)
    unwanted = {document_ids} if isinstance(document_ids, str) else set(document_ids)
    _opened(target, lambda index: _check_removable(index, unwanted)).close()
    with building(target) as staging:
        previous = _opened(target, lambda index: _check_removable(index, unwanted))
        made_by, cut = previous.manifest.embedder, _splitter_of(previous)
        with BuildRun(target, staging, made_by, cut, progress, previous=previous) as run:
            run.keep_rest(unwanted)
            return run.finish(_never_encode, [])


def _identity_of(embedder: Embedder) -> EmbedderIdentity:
    return EmbedderIdentity(name=embedder.name, fingerprint=embedder.fingerprint, dim=embedder.dim)


def _splitter_of(index: Index) -> Splitter:
    settings = index.manifest.splitter
    return Splitter(size=settings.size, overlap=settings.overlap)


def _opened(folder: Path, check: Callable[[Index], None]) -> Index:
    """The index that is there, once `check` accepts it: before the lock is taken, and again behind it."""
    index = Index.open(folder)
    try:
        check(index)
    except SlaragError:
        index.close()
        raise
    return index


def _reusable(folder: Path, embedder: Embedder, splitter: Splitter) -> Index | None:
    """The index that is there, if its vectors would be the same."""
    try:
        index = _opened(folder, lambda index: index.require(embedder))
    except IndexFolderError:
        return None
    if _splitter_of(index) == splitter:
        return index
    index.close()
    return None


def _check_removable(index: Index, unwanted: set[str]) -> None:
    unknown = sorted(name for name in unwanted if index.store.document(name) is None)
    if unknown:
        raise CorpusError(f"{str(index.folder)!r} has no document {unknown[0]!r}", remedy="name the id as citations do")
    if len(unwanted) == index.store.documents:
        raise CorpusError("an index cannot be empty", remedy=f"delete the folder {str(index.folder)!r} instead")


def _never_encode(texts: list[str]) -> Scores:
    raise AssertionError(f"removing documents embeds nothing, but {len(texts)} texts have no vector")
