"""What a loader gives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """One document of a file.

    document_id: as the file says it, "" for the file's own. where: the line of a file of many documents, "" otherwise.
    """

    text: str
    title: str
    document_id: str = ""
    where: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """A part of a file that holds no document, and why."""

    where: str
    reason: str
