"""Which tokens a device computes in its next step.

Continuous batching: every step takes the next token of each running sequence, then parts of prompts up to the step's
limit of tokens, so that a long prompt never holds up running answers for longer than one step.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field

from .blocks import BlockManager
from .sequence import Sequence


@dataclass(frozen=True, slots=True)
class Work:
    """`count` tokens of a sequence from `start`. reaches_end: whether a new token follows from it."""

    sequence: Sequence
    count: int
    start: int
    reaches_end: bool

    @classmethod
    def of(cls, sequence: Sequence, count: int) -> Work:
        """The next `count` tokens."""
        start = sequence.computed
        return cls(sequence, count, start, start + count == sequence.length)


@dataclass(eq=False, slots=True)
class Queue:
    """A device's sequences. waiting: by priority and arrival. forgotten: numbers that its worker may forget.

    is_short: the last plan left out a running sequence for want of blocks.
    """

    blocks: BlockManager
    running: list[Sequence] = field(default_factory=list[Sequence])
    waiting: list[Sequence] = field(default_factory=list[Sequence])
    forgotten: list[int] = field(default_factory=list[int])
    is_short: bool = False

    @property
    def load(self) -> int:
        """Tokens that are still to be computed, as far as they are known, and one per sequence."""
        return sum(s.length - s.computed + 1 for s in (*self.running, *self.waiting))

    def add(self, sequence: Sequence) -> None:
        """Let a sequence wait for its turn."""
        insort(self.waiting, sequence, key=lambda s: s.order)

    def drop(self, sequence: Sequence) -> None:
        """Take a running sequence out and give its blocks up."""
        self.running.remove(sequence)
        self.forgotten.append(sequence.number)
        self.blocks.release(sequence.table)


class Scheduler:
    """Decides over a `Queue`. max_batch_tokens and max_sequences: of one step."""

    def __init__(self, max_batch_tokens: int, max_sequences: int) -> None:
        self.max_batch_tokens = max_batch_tokens
        self.max_sequences = max_sequences

    def plan(self, queue: Queue, *, may_evict: bool = True) -> list[Work]:
        """The next step's work, empty if there is none; sequences that are finished leave the queue first.

        may_evict: whether a sequence may lose its blocks to another, which it may not while a step with it is out.
        """
        for sequence in [s for s in queue.running if s.finish]:
            queue.drop(sequence)
        queue.waiting[:] = [s for s in queue.waiting if not s.finish]
        work: list[Work] = []
        queue.is_short = False
        left = self._plan_running(queue, work, may_evict)
        self._plan_waiting(queue, work, left)
        return work

    def _plan_running(self, queue: Queue, work: list[Work], may_evict: bool) -> int:
        left = self.max_batch_tokens
        for sequence in sorted(queue.running, key=lambda s: (s.length - s.computed > 1, s.order)):
            if left == 0 or sequence.is_complete or sequence not in queue.running:
                continue
            count = min(left, sequence.length - sequence.computed)
            until = sequence.computed + count
            if may_evict:
                has_room = self._make_room(queue, sequence, until, work)
            else:
                has_room = queue.blocks.extend(sequence.table, until)
                queue.is_short |= not has_room
            if has_room:
                work.append(Work.of(sequence, count))
                left -= count
        return left

    def _make_room(self, queue: Queue, sequence: Sequence, num_tokens: int, work: list[Work]) -> bool:
        """Get blocks for a running sequence; the last in order gives its own up for that, perhaps this one."""
        while not queue.blocks.extend(sequence.table, num_tokens):
            planned = {item.sequence.number for item in work}
            victim = max((s for s in queue.running if s.number not in planned), key=lambda s: s.order)
            queue.drop(victim)
            victim.forget_blocks()
            queue.add(victim)
            if victim is sequence:
                return False
        return True

    def _plan_waiting(self, queue: Queue, work: list[Work], left: int) -> None:
        while left and queue.waiting and not queue.is_short and len(queue.running) < self.max_sequences:
            sequence = queue.waiting[0]
            if not sequence.table:
                prefix = queue.blocks.match(sequence.tokens)
                sequence.table, sequence.link = prefix.blocks, prefix.link
                sequence.learnt = len(prefix.blocks)
                sequence.computed = sequence.confirmed = len(prefix.blocks) * queue.blocks.block_tokens
                sequence.cached_tokens = max(sequence.cached_tokens, sequence.computed)
            count = min(left, sequence.length - sequence.computed)
            if not queue.blocks.extend(sequence.table, sequence.computed + count):
                queue.blocks.release(sequence.table)
                sequence.forget_blocks()
                return
            queue.running.append(queue.waiting.pop(0))
            work.append(Work.of(sequence, count))
            left -= count
