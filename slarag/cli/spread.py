"""Options that several values may follow, for a parser that takes one at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

_SEVERAL: Mapping[str, frozenset[str]] = {
    "eval": frozenset({"--profile", "-p"}),
    "calibrate": frozenset({"--data", "--feedback"}),
}


def spread(arguments: Sequence[str]) -> list[str]:
    """`eval --profile fast safe` as `eval --profile fast --profile safe`; other commands' arguments as they are."""
    several = _SEVERAL.get(arguments[0], frozenset[str]()) if arguments else frozenset[str]()
    return list(_spread(arguments, several))


def _spread(arguments: Sequence[str], several: frozenset[str]) -> Iterator[str]:
    flag, taken = "", 0
    for argument in arguments:
        if argument.startswith("-"):
            flag, taken = argument if argument in several else "", 0
        elif flag and (taken := taken + 1) > 1:
            yield flag
        yield argument
