"""Telling formats apart by content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, get_args

from ...sla.errors import DataError
from .fields import read_document, read_lines

DataFormat = Literal["auto", "squad", "hotpotqa", "nq-open", "beir", "jsonl"]
FORMATS: tuple[DataFormat, ...] = get_args(DataFormat)

_REMEDY = "name the format with --format squad|hotpotqa|nq-open|beir|jsonl"


def detect(path: Path) -> DataFormat:
    """The format of `path`; raises `DataError` when the content looks like none of them."""
    if path.is_dir():
        return _detect_folder(path)
    first = _first_line(path)
    if first.lstrip().startswith("["):
        return _detect_array(path)
    row = _parsed(first)
    if row is None:
        row = read_document(path)
    return _detect_object(path, row)


def _detect_folder(path: Path) -> DataFormat:
    missing = [name for name in ("corpus.jsonl", "queries.jsonl") if not _either(path, name)]
    if missing:
        raise DataError(
            f"{path} is a folder without {' and '.join(missing)}",
            remedy="give a file, or a folder in BEIR's layout (corpus.jsonl, queries.jsonl, qrels/test.tsv)",
        )
    return "beir"


def _either(folder: Path, name: str) -> bool:
    return (folder / name).is_file() or (folder / f"{name}.gz").is_file()


def _first_line(path: Path) -> str:
    for _, line in read_lines(path):
        return line
    raise DataError(f"{path} is empty", remedy="give a file with at least one question")


def _parsed(line: str) -> Any:
    try:
        return json.loads(line)
    except (json.JSONDecodeError, RecursionError):
        return None


def _detect_array(path: Path) -> DataFormat:
    rows = read_document(path)
    if rows and isinstance(rows[0], dict) and "_id" in rows[0] and "context" in rows[0]:
        return "hotpotqa"
    raise DataError(f"{path} is a JSON array, but not of HotpotQA's questions", remedy=_REMEDY)


def _detect_object(path: Path, row: Any) -> DataFormat:
    if not isinstance(row, dict):
        raise DataError(f"{path} does not begin with a JSON object", remedy=_REMEDY)
    if isinstance(row.get("data"), list):
        return "squad"
    if set(row) == {"question", "answer"} and isinstance(row["answer"], list):
        return "nq-open"
    if "question" in row:
        return "jsonl"
    raise DataError(f"{path}: the first object has no 'question' (it has {sorted(row)[:6]})", remedy=_REMEDY)
