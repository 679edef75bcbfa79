"""Examples as token arrays, and batches of like length."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from tokenizers import Encoding, Tokenizer
from torch import Tensor

from ..reader.windows import special_ids
from .sources import Example

_CHUNK = 4096
_WIDTHS = 16


@dataclass(frozen=True)
class EncodedExamples:
    """Token arrays of all examples, end to end.

    tokens: int32 [total]; offsets: int64 [n + 1]; first_length: int32 [n], tokens of segment 0;
    start, end: int32 [n], token positions of the gold span in the pair, 0 for no answer; labels: int8 [n], bits.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    first_length: np.ndarray
    start: np.ndarray
    end: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.start)

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each example, int64 [n]."""
        return np.diff(self.offsets)


@dataclass(frozen=True)
class TrainingBatch:
    """One padded batch; every tensor has the batch first. `labels` is bool [batch, 3], all false for reading rows."""

    ids: Tensor
    segments: Tensor
    lengths: Tensor
    start: Tensor
    end: Tensor
    labels: Tensor


def encode_examples(examples: list[Example], tokenizer: Tokenizer, max_tokens: int, seed: int) -> EncodedExamples:
    """Tokenise text pairs as `[CLS] first [SEP] passage [SEP]`, cut to a window of `max_tokens` that holds the answer.

    An example whose answer cannot be placed on tokens of the window is left out.
    """
    rng = random.Random(seed)
    rows: list[tuple[list[int], int, int, int, int]] = []
    for at in range(0, len(examples), _CHUNK):
        chunk = examples[at : at + _CHUNK]
        firsts = tokenizer.encode_batch([e.first for e in chunk], add_special_tokens=False)
        passages = tokenizer.encode_batch([e.passage for e in chunk], add_special_tokens=False)
        for example, first, passage in zip(chunk, firsts, passages, strict=True):
            row = _encode_pair(example, first, passage, tokenizer, max_tokens, rng)
            if row is not None:
                rows.append(row)
    columns = list(zip(*rows, strict=True))
    return EncodedExamples(
        tokens=np.concatenate([np.asarray(ids, dtype=np.int32) for ids in columns[0]]),
        offsets=np.concatenate([[0], np.cumsum([len(ids) for ids in columns[0]])]),
        first_length=np.asarray(columns[1], dtype=np.int32),
        start=np.asarray(columns[2], dtype=np.int32),
        end=np.asarray(columns[3], dtype=np.int32),
        labels=np.asarray(columns[4], dtype=np.int8),
    )


def _encode_pair(
    example: Example, first: Encoding, passage: Encoding, tokenizer: Tokenizer, max_tokens: int, rng: random.Random
) -> tuple[list[int], int, int, int, int] | None:
    cls, sep = special_ids(tokenizer)
    head = [cls, *first.ids[: max_tokens // 4], sep]
    room = max_tokens - len(head) - 1
    span = _token_span(example, passage) if example.start >= 0 else (-1, -1)
    if span is None or span[1] - span[0] >= room or not passage.ids:
        return None
    begin = _window_start(len(passage.ids), room, span, rng)
    ids = [*head, *passage.ids[begin : begin + room], sep]
    if span[0] < 0:
        return ids, len(head), 0, 0, example.labels
    shift = len(head) - begin
    return ids, len(head), span[0] + shift, span[1] + shift, example.labels


def _token_span(example: Example, passage: Encoding) -> tuple[int, int] | None:
    start, end = passage.char_to_token(example.start), passage.char_to_token(example.end - 1)
    return None if start is None or end is None or end < start else (start, end)


def _window_start(length: int, room: int, span: tuple[int, int], rng: random.Random) -> int:
    if length <= room:
        return 0
    if span[0] < 0:
        return rng.randint(0, length - room)
    return rng.randint(max(0, span[1] + 1 - room), min(span[0], length - room))


def plan_batches(lengths: np.ndarray, batch_tokens: int, processes: int, seed: int) -> Iterator[list[np.ndarray]]:
    """Steps of an epoch in random order: `processes` index arrays of like length, each within `batch_tokens`."""
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.random(len(lengths)), lengths))
    batches: list[np.ndarray] = []
    at = len(order)
    while at > 0:
        size = max(1, batch_tokens // int(lengths[order[at - 1]]))
        batches.append(order[max(0, at - size) : at])
        at -= size
    groups = [batches[i : i + processes] for i in range(0, len(batches) - processes + 1, processes)]
    for index in rng.permutation(len(groups)):
        yield groups[index]


def collate(data: EncodedExamples, rows: np.ndarray) -> TrainingBatch:
    """Pad the examples of `rows` to the longest of them, rounded up so that few shapes of attention are compiled."""
    lengths = data.lengths[rows]
    ids = np.zeros((len(rows), -(-int(lengths.max()) // _WIDTHS) * _WIDTHS), dtype=np.int64)
    for at, row in enumerate(rows):
        ids[at, : lengths[at]] = data.tokens[data.offsets[row] : data.offsets[row + 1]]
    positions = np.arange(ids.shape[1])
    segments = (positions >= data.first_length[rows][:, None]) & (positions < lengths[:, None])
    bits = data.labels[rows][:, None] & np.array([1, 2, 4], dtype=np.int8)
    return TrainingBatch(
        ids=torch.from_numpy(ids),
        segments=torch.from_numpy(segments.astype(np.int64)),
        lengths=torch.from_numpy(lengths),
        start=torch.from_numpy(data.start[rows].astype(np.int64)),
        end=torch.from_numpy(data.end[rows].astype(np.int64)),
        labels=torch.from_numpy(bits != 0),
    )
