"""The paged KV cache, and a batch of tokens that reads and writes it.

A block holds the keys and values of `block_tokens` consecutive tokens of one sequence over all layers, in one piece, so
that carrying a sequence to another device copies whole blocks. (Paged attention: Kwon et al., 2023, arXiv 2309.06180.)
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from .config import Qwen3MoeConfig
from .layout import block_shape


@dataclass(frozen=True, slots=True)
class PagedKV:
    """The blocks of one device. data: [blocks, layers, 2, block_tokens, KV heads, head size]."""

    data: Tensor

    @classmethod
    def empty(cls, config: Qwen3MoeConfig, num_blocks: int, block_tokens: int, dtype: torch.dtype) -> PagedKV:
        """A cache in ordinary memory."""
        return cls(torch.zeros((num_blocks, *block_shape(config, block_tokens)), dtype=dtype))

    @property
    def block_tokens(self) -> int:
        """Tokens a block holds."""
        return self.data.shape[3]

    def write(self, layer: int, batch: Batch, keys: Tensor, values: Tensor) -> None:
        """Store the new tokens' `keys` and `values`, both [tokens, KV heads, head size]."""
        self.data[:, layer, 0].index_put_((batch.blocks, batch.offsets), keys)
        self.data[:, layer, 1].index_put_((batch.blocks, batch.offsets), values)

    def read(self, layer: int, table: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of the blocks in `table` [n, blocks], each [n, KV heads, blocks * block_tokens, head]."""
        return self._gather(layer, 0, table), self._gather(layer, 1, table)

    def _gather(self, layer: int, which: int, table: Tensor) -> Tensor:
        found = self.data[:, layer, which].index_select(0, table.reshape(-1))
        rows, blocks = table.shape
        return found.view(rows, blocks * self.block_tokens, *found.shape[2:]).transpose(1, 2)


@dataclass(frozen=True, slots=True)
class Segment:
    """The tokens of one sequence that a step computes.

    tokens: new token ids. start: position of the first of them; everything before it is in the cache.
    blocks: the sequence's block table, long enough for the last new token.
    """

    tokens: Sequence[int]
    start: int
    blocks: Sequence[int]


@dataclass(frozen=True, slots=True)
class Prefill:
    """A segment of more than one token. rows: its slice of the batch. mask: [new, context], None for plain causal."""

    rows: slice
    table: Tensor
    context: int
    mask: Tensor | None


@dataclass(frozen=True)
class Batch:
    """Segments laid out for a forward pass. All index tensors are int64.

    tokens, positions, blocks, offsets: [tokens]. decode_rows: rows of the one-token segments; decode_table [n, blocks]
    and decode_lengths [n], tokens with the new one, go with them. last_rows: the row of each segment's last token, in
    segment order.
    """

    tokens: Tensor
    positions: Tensor
    blocks: Tensor
    offsets: Tensor
    decode_rows: Tensor
    decode_table: Tensor
    decode_lengths: Tensor
    prefills: tuple[Prefill, ...]
    last_rows: Tensor
    block_tokens: int

    @cached_property
    def decode_mask(self) -> Tensor:
        """What each one-token segment sees of its blocks: [n, 1, 1, context]."""
        block_tokens = self.block_tokens
        inside = torch.arange(self.decode_table.shape[1] * block_tokens) < self.decode_lengths[:, None]
        return inside[:, None, None, :]

    @cached_property
    def prefill_spans(self) -> array[int]:
        """Of each segment in `prefills`: first row, new tokens, position of the first, address of its table."""
        spans = ((p.rows.start, p.rows.stop - p.rows.start, p) for p in self.prefills)
        flat = ((row, count, p.context - count, p.table.data_ptr()) for row, count, p in spans)
        return array("q", [value for span in flat for value in span])

    @classmethod
    def of(cls, segments: Sequence[Segment], block_tokens: int) -> Batch:
        """Lay out `segments`, none empty."""
        tokens: list[int] = []
        positions: list[int] = []
        blocks: list[int] = []
        first_rows: list[int] = []
        for segment in segments:
            first_rows.append(len(tokens))
            span = range(segment.start, segment.start + len(segment.tokens))
            tokens.extend(segment.tokens)
            positions.extend(span)
            blocks.extend(segment.blocks[position // block_tokens] for position in span)
        where = torch.tensor(positions)
        decodes = [index for index, segment in enumerate(segments) if len(segment.tokens) == 1]
        table, lengths = _decode_layout([segments[index] for index in decodes], block_tokens)
        return cls(
            tokens=torch.tensor(tokens),
            positions=where,
            blocks=torch.tensor(blocks),
            offsets=where % block_tokens,
            decode_rows=torch.tensor([first_rows[index] for index in decodes], dtype=torch.int64),
            decode_table=table,
            decode_lengths=lengths,
            prefills=tuple(
                _prefill(segment, row, block_tokens)
                for segment, row in zip(segments, first_rows, strict=True)
                if len(segment.tokens) > 1
            ),
            last_rows=torch.tensor([row + len(s.tokens) - 1 for s, row in zip(segments, first_rows, strict=True)]),
            block_tokens=block_tokens,
        )


def _decode_layout(segments: Sequence[Segment], block_tokens: int) -> tuple[Tensor, Tensor]:
    used = [segment.start // block_tokens + 1 for segment in segments]
    width = max(used, default=0)
    rows = [[*s.blocks[:n], *[0] * (width - n)] for s, n in zip(segments, used, strict=True)]
    lengths = torch.tensor([segment.start + 1 for segment in segments], dtype=torch.int64)
    return torch.tensor(rows, dtype=torch.int64).reshape(len(rows), width), lengths


def _prefill(segment: Segment, row: int, block_tokens: int) -> Prefill:
    count = len(segment.tokens)
    context = segment.start + count
    used = (context + block_tokens - 1) // block_tokens
    mask = None
    if segment.start:
        mask = torch.arange(context) <= torch.arange(segment.start, context)[:, None]
    return Prefill(slice(row, row + count), torch.tensor([list(segment.blocks[:used])]), context, mask)
