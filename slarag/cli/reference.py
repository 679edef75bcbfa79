"""Writes the page of the command line's help: `python -m slarag.cli.reference docs/cli.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from .app import app

WIDTH = 100
HEAD = """# Command line

Made from the commands' own help by `make docs`; a test holds the two together.

Data goes to stdout, words and progress bars to stderr; `--json` prints one JSON document with a `schema` version.
Exit codes: 0 done (an abstention is a result), 1 failed at run time, 2 the call or a file is wrong, 130 interrupted. An
interrupted `index`, `eval`, `calibrate` or `train reader` exits with 1, for the same command goes on where it stopped.
Errors are one line that names the remedy; `SLARAG_DEBUG=1` shows the traceback. `--profile` of `slarag eval` takes
several values.
"""


def reference() -> str:
    """The page: every command with its help."""
    return HEAD + "".join(
        f"\n## {path}\n\n```text\n{text}\n```\n" for path, text in _pages(typer.main.get_command(app))
    )


def _pages(command: Any, path: str = "slarag", parent: Any = None) -> Iterator[tuple[str, str]]:
    # typer's command classes are its own; the few attributes used here are click's interface.
    settings = {**command.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    context = command.context_class(command, info_name=path.rpartition(" ")[2], parent=parent, **settings)
    yield path, "\n".join(line.rstrip() for line in command.get_help(context).splitlines()).strip()
    for name, child in getattr(command, "commands", {}).items():
        yield from _pages(child, f"{path} {name}", context)


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(reference(), encoding="utf-8")
