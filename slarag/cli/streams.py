"""Where output goes: data to stdout, words for people to stderr."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

SCHEMA = 1
"""The version of every JSON document that a command prints; it rises when a field changes its meaning or goes."""

Advance = Callable[[int, int | None, str], None]
"""Progress so far: how many are done, of how many (None when unknown), and what they are."""


def write_json(document: Mapping[str, object]) -> None:
    """Print one JSON document to stdout, with its `schema` version first."""
    json.dump({"schema": SCHEMA, **document}, sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


def write(text: str) -> None:
    """Print data that is text to stdout, ending in one newline."""
    sys.stdout.write(text.rstrip("\n") + "\n")


def show(*renderables: RenderableType) -> None:
    """Print tables and the like to stdout; a drawing wider than the console keeps its lines whole."""
    from rich.console import Group

    console(sys.stdout).print(Group(*renderables), crop=False)


def say(text: str) -> None:
    """Tell the person at the terminal something, on stderr."""
    sys.stderr.write(printable(text) + "\n")


def console(stream: TextIO) -> Console:
    """A console that prints text as it is, never as markup; 110 columns wide when it is not a terminal."""
    from rich.console import Console

    width = shutil.get_terminal_size((110, 40)).columns if not stream.isatty() else None
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False, soft_wrap=False)


def printable(text: str) -> str:
    """`text` without control characters, so that a document or a file name cannot drive the terminal."""
    return "".join(character if character.isprintable() or character == "\n" else " " for character in text)


@contextmanager
def progress(label: str) -> Generator[Advance]:
    """A bar on stderr while the block runs; silent when stderr is not a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(sys.stderr), disable=not sys.stderr.isatty(), transient=True) as bar:
        task = bar.add_task(label, total=None)

        def advance(done: int, total: int | None, what: str) -> None:
            bar.update(task, completed=done, total=total, description=what or label)

        yield advance
