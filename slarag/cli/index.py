"""`slarag index`: documents become an index folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson


def index(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="Files or folders: text, Markdown, HTML, PDF, JSONL.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Receives the index.")],
    as_json: AsJson = False,
) -> None:
    """Index documents into a folder.

    The folder appears whole or not at all; one that is there already is replaced when the new one is complete.
    """
    raise NotImplementedError


def build(paths: Sequence[Path], folder: Path) -> None: ...
