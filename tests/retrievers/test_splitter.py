from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slarag.retrievers.splitter import Splitter

TEXTS = st.one_of(
    st.text(max_size=600),
    st.lists(st.sampled_from(["Word", "two words", "A sentence.", "\n\n", "\n", " ", "\u3000", "ünï", "🙂", "?"])).map(
        "".join
    ),
)
SPLITTERS = st.builds(
    lambda size, share: Splitter(size=size, overlap=int(size * share)),
    st.integers(min_value=20, max_value=200),
    st.floats(min_value=0, max_value=0.5),
)


@given(TEXTS, SPLITTERS)
def test_passages_are_slices_that_leave_out_only_white_space(text: str, splitter: Splitter) -> None:
    spans = list(splitter.spans(text))
    covered: set[int] = set()
    for start, end in spans:
        piece = text[start:end]
        assert 0 < len(piece) <= splitter.size
        assert piece == piece.strip()
        covered.update(range(start, end))
    assert all(char.isspace() for at, char in enumerate(text) if at not in covered)
    starts = [start for start, _ in spans]
    assert starts == sorted(set(starts))


@given(TEXTS, SPLITTERS)
def test_neighbours_repeat_at_most_half_more_than_the_overlap(text: str, splitter: Splitter) -> None:
    spans = list(splitter.spans(text))
    for (_, end), (start, _) in pairwise(spans):
        assert end - start <= splitter.overlap * 1.5


def test_a_short_text_is_one_passage() -> None:
    assert list(Splitter().spans("  One sentence.\n")) == [(2, 15)]


def test_no_text_has_no_passage() -> None:
    assert list(Splitter().spans(" \n ")) == []


def test_a_cut_falls_between_paragraphs_without_overlap() -> None:
    text = "First paragraph, with some words in it.\n\nSecond paragraph, with other words in it."
    pieces = [text[start:end] for start, end in Splitter(size=60, overlap=20).spans(text)]
    assert pieces == ["First paragraph, with some words in it.", "Second paragraph, with other words in it."]


def test_a_cut_falls_between_sentences_and_the_overlap_begins_with_one() -> None:
    text = "One is here. Two is there. Three is far. Four is near. Five is gone. Six is back."
    pieces = [text[start:end] for start, end in Splitter(size=45, overlap=15).spans(text)]
    assert all(piece[0].isupper() and piece[-1] == "." for piece in pieces)
    assert any(before.split(". ")[-1].rstrip(".") in after for before, after in pairwise(pieces))


def test_a_long_text_is_cut_into_pieces_of_similar_length() -> None:
    text = " ".join(f"Sentence number {number} of this text." for number in range(60))
    lengths = [end - start for start, end in Splitter(size=900, overlap=0).spans(text)]
    assert min(lengths) > max(lengths) / 2


@pytest.mark.parametrize(("size", "overlap"), [(10, 0), (100, -1), (100, 51)])
def test_impossible_settings_are_refused(size: int, overlap: int) -> None:
    with pytest.raises(ValueError, match=f"size {size}"):
        Splitter(size=size, overlap=overlap)
