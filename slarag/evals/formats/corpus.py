"""Documents in a file beside their questions.

Each line is an object with `doc_id` (or `_id`, `id`) and one of `text`, `paragraphs`, `pages`, `facts`, `turns`; the
parts of a document are joined, so that a span of a part is a span of the document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from ...sla.evidence import Passage
from ..item import EvalItem
from .dataset import document
from .fields import Fields, read_rows

PIECE_CHARACTERS = 1_200

_QUESTIONS = re.compile(r"_(retrieval_queries|queries|questions|dev|test)\b.*|_(queries|questions)_.*")


class Corpus:
    """A file of documents."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def documents(self) -> Iterator[Passage]:
        """The documents in the file's order, each whole."""
        for row in read_rows(self.path):
            yield _document(row)

    def give_passages(self, items: list[EvalItem]) -> list[EvalItem]:
        """The items with the pieces of their gold documents as their own passages, for reading mode."""
        wanted = {name for item in items for gold in item.gold for name in (gold.document_id, gold.title) if name}
        pieces: dict[str, tuple[Passage, ...]] = {}
        for source in self.documents():
            for name in {source.document_id, source.title} & wanted:
                pieces[name] = pieces.get(name, ()) + tuple(cut(source))
        return [replace(item, passages=_of(item, pieces)) for item in items]


def read_corpus(path: Path) -> Corpus:
    """The corpus in `path`, after a look at its first document."""
    corpus = Corpus(path)
    next(corpus.documents(), None)
    return corpus


def find_corpus(questions: Path) -> Path | None:
    """The file of documents beside `questions` whose name begins alike; None if there is none."""
    stem = questions.name.split(".jsonl", maxsplit=1)[0]
    prefix = _QUESTIONS.sub("", stem)
    if prefix == stem:
        return None
    beside = sorted(questions.parent.glob("*.jsonl*"))
    pattern = re.compile(rf"{re.escape(prefix)}_(\w+_)?(corpus|docs)\b|{re.escape(prefix)}_docs_")
    return next((path for path in beside if pattern.match(path.name)), None)


def cut(source: Passage) -> Iterator[Passage]:
    """Pieces of a document at its line breaks, up to `PIECE_CHARACTERS` where the lines allow it."""
    start, end = 0, 0
    for line in source.text.splitlines(keepends=True):
        if end > start and end + len(line) - start > PIECE_CHARACTERS:
            yield from _piece(source, start, end)
            start = end
        end += len(line)
    yield from _piece(source, start, end)


def _piece(source: Passage, start: int, end: int) -> Iterator[Passage]:
    if source.text[start:end].strip():
        yield Passage(
            passage_id=f"{source.document_id}:{start}",
            document_id=source.document_id,
            text=source.text[start:end],
            title=source.title,
            start=start,
        )


def _of(item: EvalItem, pieces: dict[str, tuple[Passage, ...]]) -> tuple[Passage, ...]:
    names = dict.fromkeys(gold.document_id or gold.title for gold in item.gold)
    return tuple(piece for name in names for piece in pieces.get(name, ()))


def _document(row: Fields) -> Passage:
    names = [name for name in ("doc_id", "_id", "id") if name in row]
    if not names:
        raise row.error("field 'doc_id' is missing", "name every document")
    return document(row.text("title", default=""), _text(row), document_id=row.text(names[0]))


def _text(row: Fields) -> str:
    if "text" in row:
        return row.text("text")
    for name in ("pages", "facts"):
        if name in row:
            return "\n\n".join(row.strings(name))
    if "turns" in row:
        return "\n".join(f"{turn.text('speaker')}: {turn.text('text')}" for turn in row.objects("turns"))
    if "paragraphs" in row:
        return "\n\n".join(part.text("text").strip() for part in row.objects("paragraphs"))
    raise row.error("no 'text', 'paragraphs', 'pages', 'facts' or 'turns'", "give the document its text")
