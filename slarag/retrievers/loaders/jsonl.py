"""JSONL: one JSON object a line, plain or gzipped, read line by line."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from ...sla.errors import CorpusError
from .decode import clean
from .loaded import Loaded, Refused
from .rows import Row, known_keys, row_documents


def load_jsonl(path: Path) -> Iterator[Loaded | Refused]:
    """The documents of every row; a row that holds none is refused alone, unless the file begins with it.

    Raises `CorpusError` when the file cannot be read or its first row is not a JSON object that holds text.
    """
    try:
        with _open(path) as file:
            yield from _rows(file)
    except (OSError, EOFError, zlib.error) as error:
        raise CorpusError(f"cannot be read ({error})", remedy="check the file and its permissions") from None


def _open(path: Path) -> IO[bytes]:
    packed = path.name.lower().endswith(".gz")
    return cast(IO[bytes], gzip.open(path, "rb")) if packed else path.open("rb")


def _rows(file: IO[bytes]) -> Iterator[Loaded | Refused]:
    found_any = False
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            documents = _documents(line)
        except ValueError as error:
            if not found_any:
                raise CorpusError(
                    f"line {number} {error}",
                    remedy='write one {"doc_id": ..., "title": ..., "text": ...} a line',
                ) from None
            yield Refused(where=f"line {number}", reason=str(error))
            continue
        found_any = True
        for document in documents:
            where = f"line {number}"
            yield Loaded(
                text=clean(document.text),
                title=clean(document.title),
                document_id=clean(document.document_id),
                where=where,
            )


def _documents(line: bytes) -> list[Loaded]:
    try:
        row: Any = json.loads(line)
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON ({error.msg})") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    if not isinstance(row, dict):
        raise ValueError("is not a JSON object")
    documents = row_documents(cast(Row, row))
    if not documents:
        raise ValueError(f"holds no text under any of {known_keys()}")
    return documents
