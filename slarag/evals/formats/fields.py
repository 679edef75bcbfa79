"""Reading JSON that others wrote: every complaint names the file, the place, the field and what to do."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from ...sla.errors import DataError


class Fields:
    """A JSON object that knows where it stands.

    file: the file it came from. where: its place in it, such as `line 12` or `data[0].paragraphs[3]`.
    """

    def __init__(self, value: object, *, file: Path, where: str) -> None:
        self.file = file
        self.where = where
        if not isinstance(value, dict):
            raise self.error(f"a JSON object is needed, found {_short(value)}", "write one object for each question")
        self.values = cast("dict[str, Any]", value)

    def __contains__(self, name: str) -> bool:
        return self.values.get(name) is not None

    def error(self, what: str, remedy: str) -> DataError:
        """A `DataError` about this place, for raising."""
        return DataError(f"{self.file}, {self.where}: {what}", remedy=remedy, file=str(self.file), where=self.where)

    def text(self, name: str, *, default: str | None = None) -> str:
        """A string field; numbers are taken as text. Without a default it must be there."""
        value = self.values.get(name)
        if value is None and default is not None:
            return default
        if value is None:
            raise self.error(f"field {name!r} is missing", f"add {name!r}, or choose another --format")
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise self.error(f"field {name!r} is {_short(value)}, not text", f"write {name!r} as a string")
        return self._storable(name, str(value))

    def whole(self, name: str) -> int:
        """A whole number, which may be written as text; it must be there."""
        written = self.text(name)
        try:
            return int(written)
        except ValueError:
            raise self.error(
                f"field {name!r} is {_short(written)}, not a whole number", f"write {name!r} as a number"
            ) from None

    def flag(self, name: str, *, default: bool) -> bool:
        """A Boolean field."""
        value = self.values.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.error(
                f"field {name!r} is {_short(value)}, not true or false", f"write {name!r} as true or false"
            )
        return value

    def entries(self, name: str) -> list[Any]:
        """A list field; absent is empty."""
        value = self.values.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.error(f"field {name!r} is {_short(value)}, not a list", f"write {name!r} as a list")
        return cast("list[Any]", value)

    def objects(self, name: str) -> list[Fields]:
        """A list of objects; absent is empty."""
        return [self.within(value, f"{name}[{at}]") for at, value in enumerate(self.entries(name))]

    def strings(self, name: str) -> tuple[str, ...]:
        """A list of strings, or one string as a list of one; absent is empty."""
        value = self.values.get(name)
        values = [value] if isinstance(value, str) else self.entries(name)
        for at, entry in enumerate(values):
            if not isinstance(entry, str):
                raise self.error(f"field {name!r}[{at}] is {_short(entry)}, not text", f"write {name!r} as strings")
        return tuple(self._storable(name, value) for value in values)

    def _storable(self, name: str, text: str) -> str:
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise self.error(f"field {name!r} is no text: {error.reason}", "write it in UTF-8") from None
        return text

    def within(self, value: object, place: str) -> Fields:
        """A part of this object, at `place`."""
        separator = ": " if self.where.startswith("line ") else "."
        return Fields(value, file=self.file, where=f"{self.where}{separator}{place}")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a text file, packed with gzip or not, numbered from 1; blank ones are left out."""
    try:
        with _open(path) as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text (byte {error.start})", remedy="save it as UTF-8") from error
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is a damaged gzip file ({error})", remedy="fetch it again") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror})", remedy="check the path of --data") from error


def read_rows(path: Path) -> Iterator[Fields]:
    """The objects of a JSON Lines file."""
    for number, line in read_lines(path):
        where = f"line {number}"
        yield Fields(_parse(line, path, where), file=path, where=where)


def read_document(path: Path) -> Any:
    """The one JSON value of a file."""
    return _parse("".join(line for _, line in read_lines(path)), path, "the whole file")


def _parse(text: str, path: Path, where: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise DataError(f"{path}, {where}: nested too deeply", remedy="repair it, or choose another --format") from None
    except json.JSONDecodeError as error:
        place = f"{where}, column {error.colno}" if where.startswith("line ") else f"line {error.lineno}"
        message = f"{path}, {place}: not JSON ({error.msg})"
        raise DataError(message, remedy="repair the line, or choose another --format") from error


def _open(path: Path) -> Any:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8")
    return path.open(encoding="utf-8")


def _short(value: object) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= 40 else f"{text[:37]}..."
