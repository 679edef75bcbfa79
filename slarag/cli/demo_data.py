"""The shipped knowledge base: where its pages are, and its questions."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import zip_longest
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class DemoQuestion:
    """A shipped question. answers: any of them is right; empty when the pages hold no answer."""

    question: str
    answers: tuple[str, ...]
    intent: str


def demo_folder() -> Path:
    """The folder of the shipped knowledge base."""
    return Path(str(files("slarag"))) / "demo"


def pages_folder() -> Path:
    """The folder of its pages."""
    return demo_folder() / "pages"


def load_questions() -> list[DemoQuestion]:
    """The shipped questions, in the file's order."""
    lines = (demo_folder() / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    return [_question(json.loads(line)) for line in lines if line.strip()]


def choose(questions: Sequence[DemoQuestion], count: int) -> list[DemoQuestion]:
    """`count` questions, the kinds taken in turn, each kind in the file's order."""
    kinds: dict[str, list[DemoQuestion]] = defaultdict(list)
    for question in questions:
        kinds[question.intent].append(question)
    in_turn = [question for row in zip_longest(*kinds.values()) for question in row if question is not None]
    return in_turn[:count]


def _question(row: dict[str, Any]) -> DemoQuestion:
    answers = () if row.get("is_impossible") else tuple(str(answer) for answer in row["answers"])
    return DemoQuestion(question=str(row["question"]), answers=answers, intent=str(row.get("intent", "")))
