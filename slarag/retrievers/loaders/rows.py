"""The shapes of JSON rows that hold documents."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, cast

from .loaded import Loaded

_TEXT_KEYS = ("text", "page_content", "content", "contents", "body", "passage")
_ID_KEYS = ("doc_id", "document_id", "_id", "id")

Row = dict[str, Any]


def row_documents(row: Row) -> list[Loaded]:
    """The documents of a row; none when no known key holds text.

    Known are a text (`text` and its synonyms, with `doc_id` and `title`), the parts of one document (`paragraphs`,
    `pages`, `turns`, `facts`), and the passages of a question (`context`, `contexts`), told apart by what they say.
    """
    for key in _TEXT_KEYS:
        if isinstance(row.get(key), str):
            return [Loaded(text=row[key], title=_string(row, "title"), document_id=_identity(row))]
    for key, join in _PARTS.items():
        if isinstance(row.get(key), list):
            return [Loaded(text=join(row[key]), title=_string(row, "title"), document_id=_identity(row))]
    if isinstance(row.get("context"), str):
        return [_passage(_string(row, "title"), row["context"])]
    if isinstance(row.get("contexts"), list):
        return list(_contexts(row["contexts"]))
    return []


def known_keys() -> list[str]:
    """The keys that can hold text, for messages."""
    return [*_TEXT_KEYS, *_PARTS, "context", "contexts"]


def _contexts(items: list[Any]) -> Iterator[Loaded]:
    for item in items:
        if isinstance(item, str):
            yield _passage("", item)
        elif isinstance(item, dict):
            found = cast(Row, item)
            yield _passage(_string(found, "title"), _item_text(found))


def _passage(title: str, text: str) -> Loaded:
    shown = title.replace("_", " ").strip()
    digest = hashlib.blake2b(f"{shown}\n{text}".encode(errors="replace"), digest_size=6).hexdigest()
    return Loaded(text=text, title=shown, document_id=f"{shown or 'passage'}-{digest}")


def _item_text(item: Row) -> str:
    if isinstance(item.get("sentences"), list):
        return " ".join(str(sentence).strip() for sentence in item["sentences"])
    return next((item[key] for key in ("paragraph_text", *_TEXT_KEYS) if isinstance(item.get(key), str)), "")


def _paragraphs(items: list[Any]) -> str:
    return "\n\n".join(_titled(item) if isinstance(item, dict) else str(item) for item in items)


def _titled(item: Row) -> str:
    title, text = _string(item, "title"), _item_text(item)
    return f"{title}\n{text}" if title else text


def _turns(items: list[Any]) -> str:
    turns = [cast(Row, item) for item in items if isinstance(item, dict)]
    return "\n".join(f"{_string(turn, 'speaker')}: {_string(turn, 'text')}" for turn in turns)


def _facts(items: list[Any]) -> str:
    return "\n".join(str(item) for item in items)


_PARTS: dict[str, Callable[[list[Any]], str]] = {
    "paragraphs": _paragraphs,
    "pages": _paragraphs,
    "turns": _turns,
    "facts": _facts,
}


def _identity(row: Row) -> str:
    return next((str(row[key]) for key in _ID_KEYS if isinstance(row.get(key), (str, int)) and str(row[key])), "")


def _string(row: Row, key: str) -> str:
    value = row.get(key)
    return value if isinstance(value, str) else ""
