"""Bytes of a text file to clean text."""

from __future__ import annotations

import codecs
from pathlib import Path

from ...sla.errors import CorpusError

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_REPLACED = "\ufffd"
_MOST_BAD = 0.2
"""Share of the letters beyond ASCII that are none, in a text in UTF-8 that is merely damaged."""
_HEAD = 8192
_CONTROL = frozenset(range(32)) - {9, 10, 12, 13, 27}


def read_bytes(path: Path) -> bytes:
    """The file's bytes; raises `CorpusError` when it cannot be read. The corpus adds the path to such messages."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CorpusError(f"cannot be read ({error.strerror})", remedy="check its permissions") from None


def refuse_binary(raw: bytes) -> None:
    """Raise `CorpusError` when `raw` does not look like text."""
    head = raw[:_HEAD]
    if head.startswith(_UTF16):
        return
    control = sum(byte in _CONTROL for byte in head)
    if b"\0" in head or control > len(head) // 50:
        raise CorpusError(
            "is a binary file",
            remedy="convert it to text, Markdown, HTML, PDF or JSONL, or leave it out",
        )


def decode(raw: bytes) -> str:
    """UTF-8, also with a few bad bytes, UTF-16 with its mark, else Windows-1252, which every text can be read as."""
    refuse_binary(raw)
    if raw.startswith(_UTF16):
        return clean(raw.decode("utf-16", errors="replace"))
    try:
        return clean(raw.decode("utf-8-sig"))
    except UnicodeDecodeError:
        text = raw.decode("utf-8-sig", errors="replace")
    if text.count(_REPLACED) > _MOST_BAD * sum(not letter.isascii() for letter in text):
        text = raw.decode("cp1252", errors="replace")
    return clean(text)


def clean(text: str) -> str:
    """Newlines as one character; nothing in it that UTF-8 cannot store."""
    unified = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "")
    return unified.encode("utf-8", errors="replace").decode("utf-8")
