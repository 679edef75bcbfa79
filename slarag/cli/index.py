"""`slarag index`: documents become an index folder, are added to one, or leave it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..sla.errors import ConfigurationError
from .interruption import resumable
from .options import AsJson
from .streams import progress, say, write_json

if TYPE_CHECKING:
    from ..retrievers.index import BuildReport

LISTED = 5
"""Files that could not be read are named up to this many, then counted."""


def index(
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="The index folder.")],
    *,
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH", help="Files or folders: text, Markdown, HTML, PDF, JSONL.")
    ] = None,
    add: Annotated[bool, typer.Option("--add", help="Add to the index that is there; same ids are replaced.")] = False,
    remove: Annotated[
        list[str] | None, typer.Option("--remove", metavar="ID", help="Remove this document instead; repeatable.")
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Stop at the first file that cannot be read.")] = False,
    as_json: AsJson = False,
) -> None:
    """Index documents.

    The folder becomes the index of exactly these documents. It appears whole or not at all: until the new index is
    complete the old one serves, and a run that was interrupted goes on where it stopped.
    """
    if bool(paths) == bool(remove):
        raise ConfigurationError("give either documents or --remove", remedy="see `slarag index --help`")
    with resumable("an index that was there is unchanged"):
        report = take_out(remove, out) if remove else build(paths or [], out, add_to=add, strict=strict)
    _tell(report)
    if as_json:
        write_json(_document(report))


def build(paths: Sequence[Path], folder: Path, *, add_to: bool = False, strict: bool = False) -> BuildReport:
    """Build or extend an index, with a bar on the terminal."""
    from ..retrievers import index as indexes

    with progress("indexing") as advance:
        if add_to:
            return indexes.add(folder, paths, progress=advance, strict=strict)
        return indexes.build_index(paths, folder, progress=advance, strict=strict)


def take_out(document_ids: Sequence[str], folder: Path) -> BuildReport:
    """Remove documents from an index, with a bar on the terminal."""
    from ..retrievers.index import remove

    with progress("removing") as advance:
        return remove(folder, document_ids, progress=advance)


def _tell(report: BuildReport) -> None:
    for skipped in report.skipped[:LISTED]:
        say(f"skipped {skipped.source}: {skipped.reason}")
    if len(report.skipped) > LISTED:
        say(f"skipped {len(report.skipped) - LISTED} more")
    kept = report.reused + report.resumed
    say(
        f"{report.folder}: {report.documents} documents, {report.passages} passages "
        f"({report.embedded} embedded, {kept} kept from before)"
    )


def _document(report: BuildReport) -> dict[str, object]:
    return {
        "folder": str(report.folder),
        "documents": report.documents,
        "passages": report.passages,
        "embedded": report.embedded,
        "reused": report.reused,
        "resumed": report.resumed,
        "skipped": [{"source": str(skipped.source), "reason": skipped.reason} for skipped in report.skipped],
    }
