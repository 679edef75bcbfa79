"""Claims and evidence that were written for this project, as plain text that people read and mend.

A file holds blocks with a blank line between them. The first line of a block is its head: evidence (`E: `) with claims
about it below, or a claim (`C: `) with pieces of evidence below. A line below says what the pair is: `S: ` supported,
`R: ` refuted, `N: ` not enough. Since claims share their evidence and pieces of evidence their claim, neither alone
gives the label away as easily as in pairs that each have texts of their own (Gururangan et al., 2018, artifacts).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...sla.errors import DataError
from .sources import Row, read_rows

RECIPES = Path(__file__).parent
"""Where the recipes are, and the texts that ship beside them."""

_HEADS = {"E": ("evidence", "claim"), "C": ("claim", "evidence")}
_LABELS = {"S": "SUPPORTS", "R": "REFUTES", "N": "NOT_ENOUGH_INFO"}


def located(path: str, data: Path) -> Path:
    """Where a recipe's file is: beside the recipes if its path begins with `./`, else under `data`."""
    return RECIPES / path if path.startswith("./") else data / path


def source_files(path: str, data: Path) -> list[Path]:
    """The files that a recipe means by `path`: that one, or those of written claims in the folder of this name."""
    found = located(path, data)
    return sorted(found.glob("*.txt")) if found.is_dir() else [found]


def source_rows(file: Path) -> Iterator[Row]:
    """The rows of one of a recipe's files."""
    return written_rows(file) if file.suffix == ".txt" else read_rows(file)


def written_rows(path: Path) -> Iterator[Row]:
    """The pairs of a file of blocks as claim rows: `claim`, `evidence`, `label`.

    Raises `DataError` with the line that is no part of a block.
    """
    head: tuple[str, str, str] | None = None
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        mark, _, text = line.strip().partition(": ")
        if not line.strip():
            head = None
        elif head is None and mark in _HEADS and text:
            head = (*_HEADS[mark], text)
        elif head is not None and mark in _LABELS and text:
            whole, part, told = head
            yield {whole: told, part: text, "label": _LABELS[mark]}
        else:
            raise DataError(
                f"{str(path)!r}, line {number}: {line.strip()[:60]!r} does not belong here",
                remedy="a block is a head (E: or C:), then lines that begin with S:, R: or N:, then a blank line",
            )
