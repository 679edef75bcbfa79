"""What a step brings: blocks that are full now, tokens, their text, and ends."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Sequence as Items
from typing import Any

from .metrics import Metrics
from .scheduler import Queue, Work
from .sequence import FinishReason, Output, Sequence


class Results:
    """Hands a device's results to its sequences. on_finish is called for every sequence that ends with a token."""

    def __init__(
        self, queue: Queue, metrics: Metrics, eos_tokens: Items[int], on_finish: Callable[[Sequence], None]
    ) -> None:
        self._queue = queue
        self._metrics = metrics
        self._eos_tokens = frozenset(eos_tokens)
        self._on_finish = on_finish

    def take(self, work: Items[Work], sampled: Items[Any]) -> None:
        """Take a step's tokens: [token, log-probability, top], one for each item that reaches its end."""
        results = iter(sampled)
        now = time.monotonic()
        for item in work:
            sequence = item.sequence
            sequence.confirm(item.count, reaches_end=item.reaches_end)
            result = next(results) if item.reaches_end else None
            if sequence.finish:
                continue
            self._learn(sequence)
            if result is not None:
                self._observe(sequence, now)
                self._take_token(sequence, result)

    def _learn(self, sequence: Sequence) -> None:
        blocks = self._queue.blocks
        size, full = blocks.block_tokens, sequence.confirmed // blocks.block_tokens
        for index in range(sequence.learnt, full):
            tokens = sequence.tokens[index * size : (index + 1) * size]
            sequence.link = blocks.learn(sequence.table[index], tokens, sequence.link)
        sequence.learnt = full

    def _observe(self, sequence: Sequence, now: float) -> None:
        self._metrics.generation_tokens += 1
        if sequence.last_token_at is None:
            sequence.first_token_at = now
            self._metrics.time_to_first_token.observe(now - sequence.arrived)
        else:
            self._metrics.inter_token_latency.observe(now - sequence.last_token_at)
        sequence.last_token_at = now

    def _take_token(self, sequence: Sequence, result: list[Any]) -> None:
        token, logprob, top = result
        sequence.tokens.append(token)
        finish = self._ends_with(sequence, token)
        text = "" if finish == "stop" else sequence.stream.push(token)
        if sequence.stream.is_stopped:
            finish = "stop"
        if finish:
            text += sequence.stream.flush()
            sequence.finish = finish
        pairs = tuple((int(other), float(value)) for other, value in top)
        sequence.outputs.put_nowait(Output(text, token, logprob, pairs, finish))
        if finish:
            self._on_finish(sequence)

    def _ends_with(self, sequence: Sequence, token: int) -> FinishReason | None:
        options = sequence.options
        if token in options.stop_tokens or (not options.ignore_eos and token in self._eos_tokens):
            return "stop"
        return "length" if sequence.answer_tokens >= options.max_tokens else None
