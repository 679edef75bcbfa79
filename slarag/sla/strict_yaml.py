"""YAML with line numbers, in which a duplicate key is an error."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import yaml

from .errors import ProfileError

Path = tuple[str | int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Document:
    """A parsed file. lines: the 1-based line of every key and list item by its path from the root."""

    name: str
    data: Any
    lines: dict[Path, int] = field(default_factory=dict)

    def line(self, path: Path) -> int:
        """The line of `path`, or of its nearest parent that stands in the file."""
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def parse(text: str, name: str) -> Document:
    """Parse `text`, the content of file `name`; broken YAML, duplicate keys and aliases raise `ProfileError`."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        if root is None:
            return Document(name=name, data=None)
        lines: dict[Path, int] = {}
        _walk(root, (), name, lines, set())
        return Document(name=name, data=yaml.safe_load(text), lines=lines)
    except yaml.YAMLError as error:
        raise _broken(error, name) from None
    except RecursionError:
        raise ProfileError(f"{name}: nested too deeply", remedy="start from `slarag profile show balanced`") from None
    except ValueError as error:  # a number or a date that is none
        raise ProfileError(f"{name}: {error}", remedy="correct the value") from None


def _walk(node: yaml.Node, path: Path, name: str, lines: dict[Path, int], seen: set[int]) -> None:
    line = node.start_mark.line + 1
    lines.setdefault(path, line)
    if id(node) in seen:
        raise ProfileError(f"{name}:{line}: YAML aliases are not allowed", remedy="write the values out")
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        _walk_mapping(node, path, name, lines, seen)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            _walk(item, (*path, index), name, lines, seen)


def _walk_mapping(node: yaml.MappingNode, path: Path, name: str, lines: dict[Path, int], seen: set[int]) -> None:
    for key_node, value_node in node.value:
        key = str(key_node.value)
        line = key_node.start_mark.line + 1
        here = (*path, key)
        if here in lines:
            raise ProfileError(
                f"{name}:{line}: duplicate key {key!r}, first given on line {lines[here]}", remedy="keep one of the two"
            )
        lines[here] = line
        _walk(value_node, here, name, lines, seen)


def _broken(error: yaml.YAMLError, name: str) -> ProfileError:
    mark = getattr(error, "problem_mark", None)
    where = f"{name}:{mark.line + 1}" if mark is not None else name
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    return ProfileError(f"{where}: not valid YAML: {problem}", remedy="check indentation, colons and quotes")
