"""What the index keeps of a document and of a passage."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentRecord:
    """A document.

    at, length: its text in the sources file, in bytes. first, passages: its rows. digest: of its content.
    """

    document_id: str
    title: str
    source: str
    digest: str
    at: int
    length: int
    first: int
    passages: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PassageRecord:
    """A passage.

    start: its first character in the document's text. at, length: its text in the sources file, in bytes.
    """

    passage_id: str
    document_id: str
    title: str
    start: int
    at: int
    length: int


def content_digest(title: str, text: str) -> str:
    """A digest of what is indexed of a document."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(title.encode())
    digest.update(b"\0")
    digest.update(text.encode())
    return digest.hexdigest()


def passage_id(document_id: str, number: int) -> str:
    """The id of passage `number`, 0-based, of a document."""
    return f"{document_id}#{number:04d}"
