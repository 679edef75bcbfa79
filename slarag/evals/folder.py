"""The folder of one evaluation: settings it was started with, outcomes as they come in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from ..sla.atomic import write_atomically
from ..sla.errors import ConfigurationError, DataError, StorageError
from .outcome import Measurement, Outcome, outcome_from_dict

ITEMS = "items.jsonl"
SETTINGS = "settings.json"
REPORT = "report.json"
PAGE = "report.html"


class RunFolder:
    """Appends one outcome a line and gives back what an earlier session left.

    A line that a killed session cut short is dropped; the question is asked again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lines: TextIO | None = None

    def check(self, fingerprint: Mapping[str, Any]) -> None:
        """Raise `ConfigurationError` if the folder holds another evaluation than that of `fingerprint`."""
        self._refuse_other(self._held(), fingerprint)

    def claim(self, fingerprint: Mapping[str, Any]) -> None:
        """Make the folder this evaluation's; raises as `check`."""
        held = self._held()
        self._refuse_other(held, fingerprint)
        merged = {name: _merged(held.get(name), value) for name, value in fingerprint.items()}
        write_atomically(self.path / SETTINGS, json.dumps(merged, indent=2, sort_keys=True) + "\n")

    def outcomes(self) -> list[Outcome]:
        """The outcomes so far; of several for one question and profile the last one counts."""
        latest = {(outcome.profile, outcome.item_id): outcome for outcome in read_outcomes(self.path)}
        return list(latest.values())

    def append(self, outcome: Outcome) -> None:
        """Write one outcome through to the file; raises `StorageError` when the disk refuses."""
        try:
            if self._lines is None:
                self._lines = reopened(self.path / ITEMS)
            self._lines.write(json.dumps(outcome.to_dict(), ensure_ascii=False) + "\n")
            self._lines.flush()
        except OSError as error:
            raise refused(self.path / ITEMS, error) from error

    def close(self) -> None:
        """Close the file of outcomes."""
        lines, self._lines = self._lines, None
        if lines is not None:
            with suppress(OSError):  # every outcome was written through before; the disk refused the last one already
                lines.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _held(self) -> dict[str, Any]:
        """What the folder was claimed with; empty while nothing is measured, for then no other call contradicts it."""
        measured = any(isinstance(outcome, Measurement) for outcome in read_outcomes(self.path))
        return read_settings(self.path / SETTINGS) if measured else {}

    def _refuse_other(self, held: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
        if not held:
            return
        differing = sorted(name for name in {*held, *wanted} if not _agrees(held.get(name), wanted.get(name)))
        if differing:
            name = differing[0]
            raise ConfigurationError(
                f"{self.path} holds an evaluation with {name} {held.get(name)!r}, not {wanted.get(name)!r}",
                remedy="give another --out, or remove that folder",
            )


def reopened(path: Path) -> TextIO:
    """A file of lines, open for more; a last line that was cut short is ended first."""
    cut = path.is_file() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    lines = path.open("a", encoding="utf-8")
    if cut:
        lines.write("\n")
    return lines


def read_settings(path: Path) -> dict[str, Any]:
    """What a run was claimed with; empty where there is no such file, `ConfigurationError` for a damaged one."""
    if not path.is_file():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise ConfigurationError(f"{path} is damaged ({error})", remedy="give another --out, or remove it") from error


def read_outcomes(folder: Path) -> Iterator[Outcome]:
    """The outcomes in a folder in the order they were written; raises `DataError` for a line that is none."""
    path = folder / ITEMS
    if not path.is_file():
        return
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        try:
            raw = json.loads(line)
        except (ValueError, RecursionError):  # cut short, perhaps within a character
            continue
        try:
            yield outcome_from_dict(raw)
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                f"{path}, line {number}: not an outcome of this version ({error})",
                remedy="evaluate again into a new --out",
            ) from error


def refused(path: Path, error: OSError) -> StorageError:
    """The error for a file that the disk refused."""
    return StorageError(f"{path} cannot be written ({error.strerror})", remedy="free space, or give another --out")


def _merged(held: Any, wanted: Any) -> Any:
    return {**held, **wanted} if isinstance(held, dict) and isinstance(wanted, dict) else wanted


def _agrees(held: Any, wanted: Any) -> bool:
    # A session may bring further profiles; those that both know must be the same.
    if isinstance(held, dict) and isinstance(wanted, dict):
        return all(held[name] == wanted[name] for name in held.keys() & wanted.keys())
    return bool(held == wanted)
