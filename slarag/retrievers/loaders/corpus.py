"""A corpus: the documents of files and folders, read one after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from ...sla.errors import CorpusError
from .html import load_html
from .jsonl import load_jsonl
from .loaded import Loaded, Refused
from .pdf import load_pdf
from .text import load_markdown, load_text
from .walk import SourceFile, find_files

if TYPE_CHECKING:
    from langchain_core.documents import Document

_LOGGER = logging.getLogger(__name__)

Loader = Callable[[Path], Iterator["Loaded | Refused"]]
OnFile = Callable[[int, int], None]

_LOADERS: dict[tuple[str, ...], Loader] = {
    (".md", ".markdown"): load_markdown,
    (".html", ".htm", ".xhtml"): load_html,
    (".pdf",): load_pdf,
    (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz"): load_jsonl,
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Skipped:
    """A file, or a line of one, that gave no document, and why."""

    source: str
    reason: str


class Corpus:
    """The documents under `paths`, in a fixed order.

    strict: the first file that cannot be read raises. Otherwise it is logged and listed in `skipped`, and only a corpus
    without any readable document raises. Documents have `document_id`, `title` and `source` in their metadata.
    """

    def __init__(self, paths: Sequence[Path | str] | Path | str, *, strict: bool = False) -> None:
        self._paths = (paths,) if isinstance(paths, str | Path) else tuple(paths)
        self._strict = strict
        self.skipped: list[Skipped] = []

    @cached_property
    def files(self) -> list[SourceFile]:
        """The files, in the order of reading; raises `CorpusError` when there are none."""
        return find_files(self._paths)

    def documents(self, on_file: OnFile | None = None) -> Iterator[Document]:
        """Read every document; `on_file(done, total)` is called after each file.

        A document without text is left out, and one that repeats an id is left out unless it says the same.
        Raises `CorpusError` when no document can be read at all.
        """
        self.skipped.clear()
        found = 0
        for done, file in enumerate(self.files, start=1):
            for document in self._of_file(file):
                found += 1
                yield document
            if on_file is not None:
                on_file(done, len(self.files))
        if not found:
            self._refuse_all()

    def skip(self, source: str, reason: str) -> None:
        """List `source` as skipped, or raise `CorpusError` when strict."""
        if self._strict:
            raise CorpusError(f"{source}: {reason}", remedy="leave it out, or do not ask for strict reading")
        _LOGGER.warning("skipped %s: %s", source, reason)
        self.skipped.append(Skipped(source=source, reason=reason))

    def _of_file(self, file: SourceFile) -> Iterator[Document]:
        for loaded in self._loaded(file):
            if isinstance(loaded, Refused):
                self.skip(f"{file.path} {loaded.where}", loaded.reason)
            elif loaded.text.strip():
                yield _document(file, loaded)
            else:
                self.skip(f"{file.path} {loaded.where}".strip(), "holds no text")

    def _loaded(self, file: SourceFile) -> Iterator[Loaded | Refused]:
        """What the file's loader gives, to its end or to where it fails."""
        is_empty = True
        try:
            for loaded in _loader(file.path)(file.path):
                is_empty = False
                yield loaded
        except CorpusError as error:
            if self._strict:
                raise CorpusError(f"{str(file.path)!r} {error.message}", remedy=error.remedy) from None
            self.skip(str(file.path), str(error))
        else:
            if is_empty:
                self.skip(str(file.path), "holds no document")

    def _refuse_all(self) -> None:
        first = self.skipped[0]
        more = f" (and {len(self.skipped) - 1} more)" if len(self.skipped) > 1 else ""
        raise CorpusError(f"no document could be read: {first.source}: {first.reason}{more}")


def _loader(path: Path) -> Loader:
    name = path.name.lower()
    return next((loader for endings, loader in _LOADERS.items() if name.endswith(endings)), load_text)


def _document(file: SourceFile, loaded: Loaded) -> Document:
    from langchain_core.documents import Document

    document_id = loaded.document_id
    if not document_id:
        line = loaded.where.removeprefix("line ")
        document_id = f"{file.document_id}#{line}" if line else file.document_id
    metadata = {"document_id": document_id, "title": loaded.title, "source": str(file.path)}
    return Document(id=document_id, page_content=loaded.text, metadata=metadata)
