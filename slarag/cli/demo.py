"""`slarag demo`: the shipped knowledge base, asked under every shipped profile."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Annotated

import typer

from ..demo import DemoQuestion, load_questions, pages_folder
from .demo_run import Asked, ask_all
from .options import AsJson
from .streams import Advance, progress, say, show, write_json


def demo(
    everything: Annotated[
        bool, typer.Option("--all", help="Ask every shipped question, not only the featured.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", metavar="DIR", help="Keep the index there, to ask it more.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Ask the shipped knowledge base.

    Indexes it, asks it under fast, balanced, thorough and safe, and shows what came. Everything runs on this machine,
    without network or key.
    """
    chosen = [question for question in load_questions() if everything or question.featured]
    with _index(out) as folder:
        asked = _ask(folder, chosen)
    if as_json:
        write_json({"asked": [one.to_dict() for one in asked]})
        return
    from .demo_view import demo_view

    show(*demo_view(asked))
    if out is not None:
        say(f'the index is in {out}: slarag ask "{chosen[0].question}" -i {out} -p safe')


def _ask(folder: Path, questions: Sequence[DemoQuestion]) -> list[Asked]:
    """All questions under all shipped profiles, ordered by question."""
    from ..engine import Engine
    from ..sla.profile import shipped_profiles

    profiles = shipped_profiles()
    columns: list[list[Asked]] = []
    with progress("asking") as advance:
        counted = count(1)
        for profile in profiles:
            with Engine.open(folder, profile=profile) as engine:
                done = partial(_advance, advance, counted, len(profiles) * len(questions))
                columns.append(ask_all(engine, questions, profile, done))
    return [one for row in zip(*columns, strict=True) for one in row]


def _advance(advance: Advance, counted: Iterator[int], total: int) -> None:
    advance(next(counted), total, "asking")


@contextmanager
def _index(out: Path | None) -> Generator[Path]:
    from .index import build

    with tempfile.TemporaryDirectory(prefix="slarag-demo-") as scratch:
        folder = out or Path(scratch) / "index"
        build([pages_folder()], folder)
        yield folder
