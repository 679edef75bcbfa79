"""Plain text and Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from .decode import decode, read_bytes
from .loaded import Loaded

_HEADING = re.compile(r"^(?:#{1,6}[ \t]+(?P<marked>[^\n]+?)[ \t#]*|(?P<underlined>[^\n]+)\n=+[ \t]*)$", re.MULTILINE)
_HEADING_WITHIN = 2_000
_MATTER = re.compile(r"\A---\n(?=[\w.-]+:)(?:[\w.-]+:.*\n|[ \t#-].*\n|\n)*?---[ \t]*\n")
"""Keys with values between two rules; other text between two rules is text."""


def load_text(path: Path) -> Iterator[Loaded]:
    """One document; its title is the file's name without the ending."""
    yield Loaded(text=decode(read_bytes(path)), title=path.stem)


def load_markdown(path: Path) -> Iterator[Loaded]:
    """One document with its marks kept; its title is the first heading. Front matter is left out."""
    text = _MATTER.sub("", decode(read_bytes(path)), count=1)
    heading = _HEADING.search(text[:_HEADING_WITHIN])
    title = (heading["marked"] or heading["underlined"]).strip() if heading else path.stem
    yield Loaded(text=text, title=title)
