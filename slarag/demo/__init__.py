"""A small knowledge base with questions, written for slarag, so that everything can be tried without data of one's own.

`pages/` holds some forty short articles on the solar system, the history of computing, chemical elements, and the
rivers, lakes and mountains of Europe. `questions.jsonl` holds questions of every intent; those that the pages do not
answer have no answers and are marked `is_impossible`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

__all__ = ["DemoQuestion", "load_questions", "pages_folder", "questions_file"]


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoQuestion:
    """One question about the pages.

    answers: accepted wordings, each a span of a page except for `yes_no`; empty when the pages do not say.
    intent: one of the names in `slarag.sla.intents`. page: names of the files that hold the evidence. featured: part of
    the short tour of eight that a demo shows.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    intent: str
    page: tuple[str, ...]
    is_impossible: bool
    featured: bool = False


def pages_folder() -> Path:
    """The folder of the knowledge base: Markdown, HTML and text files, UTF-8."""
    return Path(str(files(__name__))) / "pages"


def questions_file() -> Path:
    """The file of the questions, one JSON object a line."""
    return pages_folder().with_name("questions.jsonl")


@cache
def load_questions() -> tuple[DemoQuestion, ...]:
    """All questions, in the order of the file."""
    lines = questions_file().read_text(encoding="utf-8").splitlines()
    return tuple(_question(json.loads(line)) for line in lines)


def _question(row: dict[str, Any]) -> DemoQuestion:
    lists: dict[str, Any] = {"answers": tuple(row["answers"]), "page": tuple(row["page"])}
    return DemoQuestion(**row | lists)
