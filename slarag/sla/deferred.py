"""Deferred sequences: what is expensive to spell out and seldom read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, overload

Item_co = TypeVar("Item_co", covariant=True)


class Deferred(Sequence[Item_co]):
    """A tuple of `length` items that `build` makes when the first of them is read; equals a tuple of the same items."""

    __slots__ = ("_build", "_items", "_length")

    def __init__(self, length: int, build: Callable[[], Sequence[Item_co]]) -> None:
        self._length = length
        self._build = build
        self._items: tuple[Item_co, ...] | None = None

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Item_co: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Item_co, ...]: ...

    def __getitem__(self, index: int | slice) -> Item_co | tuple[Item_co, ...]:
        return self._all()[index]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Deferred):
            return self._all() == other._all()
        return self._all() == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._all())

    def __repr__(self) -> str:
        return repr(self._all())

    def _all(self) -> tuple[Item_co, ...]:
        if self._items is None:
            self._items = tuple(self._build())
        return self._items
