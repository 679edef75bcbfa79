"""What of a passage is searched."""

from __future__ import annotations


def searchable(title: str, text: str) -> str:
    """The title of its document, which names what the passage may only call "it", then the passage."""
    return f"{title}\n{text}" if title else text
