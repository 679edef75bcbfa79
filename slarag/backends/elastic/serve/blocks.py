"""The KV blocks of one device: which are free, which are shared, and which still hold a known prefix.

Full blocks are known by what they hold and by the block before them, so that a prompt that starts as an earlier one
takes those blocks over instead of computing them again. A block that nobody uses keeps its content until the room is
needed; the one unused for longest goes first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

_Key = tuple[int, tuple[int, ...]]
ROOT = 0


@dataclass(frozen=True, slots=True)
class Prefix:
    """What a prompt found in the cache. link: identifies the last of `blocks` to what follows it."""

    blocks: list[int]
    link: int


class BlockManager:
    """Blocks by number. A table is a sequence's list of blocks, in order of its tokens."""

    def __init__(self, num_blocks: int, block_tokens: int) -> None:
        self.num_blocks = num_blocks
        self.block_tokens = block_tokens
        self._free = list(range(num_blocks - 1, -1, -1))
        self._users = [0] * num_blocks
        self._known: dict[_Key, tuple[int, int]] = {}
        self._key_of: dict[int, _Key] = {}
        self._unused: OrderedDict[int, None] = OrderedDict()
        self._next_link = ROOT + 1

    @property
    def available(self) -> int:
        """Blocks that can be had now."""
        return len(self._free) + len(self._unused)

    @property
    def used_share(self) -> float:
        """Share of the blocks that sequences hold."""
        return 1 - self.available / self.num_blocks

    def match(self, tokens: Sequence[int]) -> Prefix:
        """Take over the known blocks that `tokens` starts with, leaving at least one token to compute."""
        size, blocks, link = self.block_tokens, list[int](), ROOT
        for start in range(0, len(tokens) - size, size):
            found = self._known.get((link, tuple(tokens[start : start + size])))
            if found is None:
                break
            block, link = found
            self._unused.pop(block, None)
            self._users[block] += 1
            blocks.append(block)
        return Prefix(blocks, link)

    def extend(self, table: list[int], num_tokens: int) -> bool:
        """Make `table` long enough for `num_tokens`; returns False and changes nothing if blocks lack."""
        lacking = -(-num_tokens // self.block_tokens) - len(table)
        if lacking > self.available:
            return False
        for _ in range(lacking):
            block = self._take()
            self._users[block] = 1
            table.append(block)
        return True

    def learn(self, block: int, tokens: Sequence[int], link: int) -> int:
        """Remember that the full `block` holds `tokens` after `link`; returns the link to what follows."""
        key = (link, tuple(tokens))
        known = self._known.get(key)
        if known is not None:
            return known[1]
        following = self._next_link
        self._next_link += 1
        self._known[key] = (block, following)
        self._key_of[block] = key
        return following

    def release(self, table: list[int]) -> None:
        """Give a sequence's blocks up and empty `table`."""
        for block in reversed(table):
            self._users[block] -= 1
            if self._users[block]:
                continue
            if block in self._key_of:
                self._unused[block] = None
            else:
                self._free.append(block)
        table.clear()

    def _take(self) -> int:
        if self._free:
            return self._free.pop()
        block, _ = self._unused.popitem(last=False)
        del self._known[self._key_of.pop(block)]
        return block
