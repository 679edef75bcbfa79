"""PDF: the text of its pages."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from ...sla.errors import CorpusError
from .decode import clean, read_bytes
from .loaded import Loaded

if TYPE_CHECKING:
    from pypdf import PdfReader

_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "ft", "ﬆ": "st"})
_HYPHENATED = re.compile(r"(?<=[a-z])-\n(?=[a-z])")


def load_pdf(path: Path) -> Iterator[Loaded]:
    """One document: the pages' text, a blank line between them; hyphens at line ends and ligatures undone.

    Raises `CorpusError` for a file that is damaged, encrypted, or of pictures only.
    """
    raw = read_bytes(path)
    logging.getLogger("pypdf").setLevel(logging.ERROR)  # it warns of every flaw that it copes with
    try:
        title, text = _read(raw)
    except CorpusError:
        raise
    except Exception as error:  # noqa: BLE001  a damaged PDF makes pypdf fail in many ways
        raise CorpusError(
            f"is a damaged or locked PDF ({type(error).__name__})",
            remedy="open and save it again, or leave it out",
        ) from None
    if not text.strip():
        raise CorpusError("is a PDF without text", remedy="if it is scanned, run text recognition on it")
    yield Loaded(text=text, title=title or path.stem)


def _read(raw: bytes) -> tuple[str, str]:
    from pypdf import PdfReader

    reader = PdfReader(BytesIO(raw))
    if reader.is_encrypted and not reader.decrypt(""):
        raise ValueError("encrypted")
    pages = [page.extract_text().strip() for page in reader.pages]
    text = clean("\n\n".join(pages)).translate(_LIGATURES)
    return _title(reader), _HYPHENATED.sub("", text)


def _title(reader: PdfReader) -> str:
    title = reader.metadata.title if reader.metadata is not None else None
    return " ".join(clean(str(title)).split()) if title else ""
