"""NQ-open: questions and short answers, without passages (Lee et al., 2019)."""

from __future__ import annotations

from pathlib import Path

from ..item import EvalItem
from .fields import read_rows


def read_nq_open(path: Path) -> list[EvalItem]:
    """The questions of an official `NQ-open.*.jsonl`; ids are positions in the file, as it has none."""
    return [
        EvalItem(
            item_id=f"nq-open-{at}",
            question=row.text("question"),
            answers=tuple(dict.fromkeys(row.strings("answer"))),
        )
        for at, row in enumerate(read_rows(path))
    ]
