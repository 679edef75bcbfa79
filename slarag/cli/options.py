"""Arguments that several commands take, and how their text becomes values."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ..sla.errors import ConfigurationError, PlanError, QuestionError

if TYPE_CHECKING:
    from ..sla.plan import Plan

IndexFolder = Annotated[
    Path, typer.Option("--index", "-i", metavar="DIR", help="An index folder, as `slarag index` writes it.")
]
ProfileName = Annotated[
    str, typer.Option("--profile", "-p", metavar="PROFILE", help="A shipped profile's name or a YAML file.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of words.")]
PlanText = Annotated[
    str | None,
    typer.Option(
        "--plan", metavar="JSON", help="Run this plan whatever the mapper would choose, for example '{\"hops\": 2}'."
    ),
]
CalibrationFile = Annotated[
    Path | None,
    typer.Option("--calibration", metavar="FILE", help="What `slarag calibrate` wrote; the shipped one by default."),
]
ReadingPool = Annotated[
    str | None,
    typer.Option("--pool", metavar="URL", help="Read on the pool at URL (`slarag pool serve`) instead of here."),
]
Question = Annotated[str, typer.Argument(metavar="QUESTION", help="The question; `-` reads it from standard input.")]


def read_question(argument: str) -> str:
    """The question given as an argument, or from standard input for `-`; raises `QuestionError` if it cannot be one."""
    from ..engine import MAX_QUESTION_CHARACTERS

    most_bytes = 4 * MAX_QUESTION_CHARACTERS
    text = sys.stdin.buffer.read(most_bytes + 1).decode("utf-8", errors="replace") if argument == "-" else argument
    if len(text) > MAX_QUESTION_CHARACTERS:
        raise QuestionError(
            f"the question has over {MAX_QUESTION_CHARACTERS:,} characters",
            remedy="shorten it; documents belong in the index",
        )
    if not text.strip():
        raise QuestionError("the question is empty", remedy="give it as the argument, or `-` and standard input")
    return text.strip()


def parse_plan(text: str | None) -> Plan | None:
    """The plan that `--plan` states as JSON; raises `PlanError`."""
    if text is None:
        return None
    from ..sla.plan import Plan

    raw = read_json_object(text, "--plan", PlanError)
    try:
        return Plan.from_dict(raw)
    except TypeError as error:
        raise PlanError(f"--plan {text!r}: {error}", remedy="see `slarag explain --json` for a plan's fields") from None


class _DuplicateKeyError(Exception):
    """The key that an object has twice."""


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    counted = Counter(key for key, _ in pairs)
    for key, count in counted.items():
        if count > 1:
            raise _DuplicateKeyError(key)
    return dict(pairs)


def read_json_object(text: str, name: str, error: type[ConfigurationError] = ConfigurationError) -> dict[str, object]:
    """The JSON object that `text` states; raises `error` naming `name`."""
    try:
        value: Any = json.loads(text, object_pairs_hook=_once_each)
    except _DuplicateKeyError as twice:
        raise error(f"{name} {text[:60]!r} gives {twice.args[0]!r} twice", remedy="give each field once") from None
    except (ValueError, RecursionError) as reason:
        raise error(f"{name} {text[:60]!r} is not JSON: {reason}", remedy="quote it for the shell") from None
    if not isinstance(value, dict):
        raise error(f"{name} {text[:60]!r} is not a JSON object", remedy='write it as {"field": value}')
    return cast("dict[str, object]", value)
