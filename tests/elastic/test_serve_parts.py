"""Blocks, scheduling and text, without processes."""

from __future__ import annotations

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from slarag.backends.elastic.models.random_model import make_tokenizer
from slarag.backends.elastic.serve.blocks import ROOT, BlockManager
from slarag.backends.elastic.serve.scheduler import Queue, Scheduler, Work
from slarag.backends.elastic.serve.sequence import GenerationOptions, Sequence
from slarag.backends.elastic.serve.text import TextStream


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return make_tokenizer(320)


def make(tokenizer: Tokenizer, prompt: list[int], **options: Any) -> Sequence:
    stream = TextStream(tokenizer, ())
    return Sequence(len(prompt), list(prompt), GenerationOptions(**options), stream, time.monotonic())


def learn_all(blocks: BlockManager, table: list[int], tokens: list[int]) -> None:
    link = ROOT
    for index in range(len(tokens) // blocks.block_tokens):
        size = blocks.block_tokens
        link = blocks.learn(table[index], tokens[index * size : (index + 1) * size], link)


def test_a_known_prefix_is_taken_over_and_one_token_is_left_to_compute() -> None:
    blocks, table = BlockManager(8, 4), list[int]()
    tokens = list(range(12))
    assert blocks.extend(table, 12)
    learn_all(blocks, table, tokens)
    assert blocks.match([*tokens, 99]).blocks == table
    assert blocks.match(tokens).blocks == table[:2]
    assert blocks.match([5, *tokens[1:]]).blocks == []
    assert blocks.match([*tokens[:4], 7, 7, 7, 7, *tokens[8:], 1]).blocks == table[:1]


def test_content_outlives_its_user_until_the_room_is_needed() -> None:
    blocks, table, other = BlockManager(4, 2), list[int](), list[int]()
    blocks.extend(table, 4)
    learn_all(blocks, table, [1, 2, 3, 4])
    blocks.release(table)
    assert blocks.available == 4
    kept = blocks.match([1, 2, 3, 4, 5])
    assert len(kept.blocks) == 2
    blocks.release(kept.blocks)
    assert blocks.extend(other, 8)
    assert not blocks.extend(other, 10)
    assert blocks.match([1, 2, 3, 4, 5]).blocks == []


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.sampled_from("armg"), st.integers(0, 9)), max_size=40))
def test_blocks_are_never_lost_or_given_twice(steps: list[tuple[str, int]]) -> None:
    blocks = BlockManager(6, 2)
    tables: list[list[int]] = []
    for kind, value in steps:
        tokens = [value % 2] * (value + 1)
        if kind == "r" and tables:
            blocks.release(tables.pop(value % len(tables)))
        elif kind == "m":
            tables.append(blocks.match(tokens).blocks)
        elif kind == "a":
            table: list[int] = []
            if blocks.extend(table, value):
                learn_all(blocks, table, tokens[: 2 * len(table)])
            tables.append(table)
        elif tables:
            blocks.extend(tables[-1], value)
        held = {block for table in tables for block in table}
        assert len(held) + blocks.available == 6
    for table in tables:
        blocks.release(table)
    assert blocks.available == 6


def advance(work: list[Work]) -> None:
    for item in work:
        item.sequence.send(item.count, reaches_end=item.reaches_end)
        item.sequence.confirm(item.count, reaches_end=item.reaches_end)
        if item.reaches_end:
            item.sequence.tokens.append(1)


def test_running_answers_go_before_parts_of_prompts(tokenizer: Tokenizer) -> None:
    queue, scheduler = Queue(BlockManager(64, 4)), Scheduler(8, 4)
    short, long = make(tokenizer, [1] * 3), make(tokenizer, [2] * 20)
    queue.add(short)
    queue.add(long)
    counts: list[list[tuple[int, int]]] = []
    for _ in range(5):
        work = scheduler.plan(queue)
        counts.append([(item.sequence.number - short.number, item.count) for item in work])
        advance(work)
    assert counts == [
        [(0, 3), (1, 5)],
        [(0, 1), (1, 7)],
        [(0, 1), (1, 7)],
        [(0, 1), (1, 1)],
        [(0, 1), (1, 1)],
    ]


def test_priority_then_arrival(tokenizer: Tokenizer) -> None:
    queue, scheduler = Queue(BlockManager(64, 4)), Scheduler(8, 1)
    first, urgent = make(tokenizer, [1]), make(tokenizer, [1], priority=-1)
    queue.add(first)
    queue.add(urgent)
    assert [item.sequence for item in scheduler.plan(queue)] == [urgent]
    urgent.finish = "cancelled"
    assert [item.sequence for item in scheduler.plan(queue)] == [first]


def test_without_room_the_last_gives_way_and_comes_back(tokenizer: Tokenizer) -> None:
    queue, scheduler = Queue(BlockManager(4, 2)), Scheduler(16, 4)
    first, last = make(tokenizer, [1, 2, 3, 4]), make(tokenizer, [5, 6, 7, 8])
    queue.add(first)
    queue.add(last)
    advance(scheduler.plan(queue))
    work = scheduler.plan(queue)
    assert [item.sequence for item in work] == [first]
    assert (last.computed, last.table, queue.waiting) == (0, [], [last])
    first.finish = "length"
    work = scheduler.plan(queue)
    assert [(item.sequence, item.count) for item in work] == [(last, 5)]
    assert queue.forgotten == [last.number, first.number]


def text_of(tokenizer: Tokenizer, text: str, *stop: str) -> tuple[list[str], TextStream]:
    stream = TextStream(tokenizer, stop)
    pieces: list[str] = []
    for token in tokenizer.encode(text).ids:
        pieces.append(stream.push(token))
        if stream.is_stopped:
            break
    return pieces, stream


def test_text_comes_whole_whatever_the_tokens_split(tokenizer: Tokenizer) -> None:
    pieces, stream = text_of(tokenizer, "naïve №5 ok")
    assert "".join(pieces) + stream.flush() == "naïve №5 ok"
    assert "�" not in "".join(pieces)


def test_a_stop_text_ends_the_answer_and_nothing_of_it_was_shown(tokenizer: Tokenizer) -> None:
    pieces, stream = text_of(tokenizer, "one STOP two", "STOP", "never")
    assert stream.is_stopped
    assert "".join(pieces) == "one "
    pieces, stream = text_of(tokenizer, "one STO", "STOP")
    assert "".join(pieces) == "one "
    assert stream.flush() == "STO"
