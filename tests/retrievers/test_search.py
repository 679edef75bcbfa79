"""Lexical and dense search, fusion, and the order of equal scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from slarag.retrievers.dense import ExactIndex, HnswIndex
from slarag.retrievers.fusion import RRF_K, reciprocal_rank_fusion
from slarag.retrievers.lexical import LexicalIndex
from slarag.retrievers.ranking import Scores, best_rows, id_ranks
from slarag.retrievers.tokens import tokens

TEXTS = [
    "The Baltic coast is the largest known source of amber.",
    "Röntgen won the first Nobel Prize in physics.",
    "Star dunes grow upwards.",
    "",
    "!!!",
]


def clustered(rows: int, *, dim: int = 64, clusters: int = 50, seed: int = 0) -> Scores:
    random = np.random.default_rng(seed)
    centres = random.standard_normal((clusters, dim))
    vectors = centres[random.integers(clusters, size=rows)] + 0.6 * random.standard_normal((rows, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_words_are_folded_stemmed_and_freed_of_stop_words() -> None:
    assert tokens("Where did RÖNTGEN's coasts go in 1901?") == tokens("rontgen s coast go 1901")


@pytest.mark.parametrize(
    ("question", "row"),
    [("What is a source of amber?", 0), ("nobel prizes of rontgen", 1), ("How does a star dune grow?", 2)],
)
def test_lexical_search_finds_common_words(question: str, row: int) -> None:
    index = LexicalIndex.build(TEXTS)
    assert index.search(question, 3, id_ranks(list("abcde")))[0][0] == row


@pytest.mark.parametrize("question", ["", "who is it", "zebra", "!!!"])
def test_lexical_search_finds_nothing_without_a_common_word(question: str) -> None:
    assert len(LexicalIndex.build(TEXTS).search(question, 3, id_ranks(list("abcde")))[0]) == 0


def test_lexical_search_is_the_same_after_saving_and_nothing_is_pickled(tmp_path: Path) -> None:
    built = LexicalIndex.build(TEXTS)
    built.save(tmp_path)
    for path in tmp_path.glob("*.npy"):
        assert np.load(path, allow_pickle=False).dtype != object
    assert np.array_equal(LexicalIndex.load(tmp_path).scores("Nobel amber"), built.scores("Nobel amber"))


def test_texts_without_any_word_can_be_indexed() -> None:
    assert LexicalIndex.build(["", "..."]).scores("word").tolist() == [0, 0]


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 45), st.randoms(use_true_random=False))
def test_equal_scores_are_ordered_by_id_wherever_they_are_stored(values: list[int], k: int, random: object) -> None:
    names = [f"p{number:03d}" for number in range(len(values))]
    order = list(range(len(values)))
    random.shuffle(order)  # type: ignore[attr-defined]
    rows, _ = best_rows(
        np.array([values[at] for at in order], dtype=np.float32), id_ranks([names[at] for at in order]), k
    )
    expected = sorted((at for at in range(len(values)) if values[at]), key=lambda at: (-values[at], names[at]))[:k]
    assert [order[row] for row in rows] == expected


def test_equal_passages_are_ordered_by_id_in_lexical_and_dense_search() -> None:
    texts, names = ["amber coast"] * 30, [f"p{(7 * number) % 30:02d}" for number in range(30)]
    vectors = np.tile(np.float32([0.6, 0.8]), (30, 1))
    ranks = id_ranks(names)
    for found in (
        LexicalIndex.build(texts).search("amber", 10, ranks)[0],
        ExactIndex(vectors).search(vectors[0], 10, ranks)[0],
    ):
        assert [names[row] for row in found] == sorted(names)[:10]


def test_fusion_adds_reciprocal_places() -> None:
    rows, scores = reciprocal_rank_fusion([np.array([4, 2, 1]), np.array([2, 3])], id_ranks(list("abcde")), 10)
    assert rows.tolist() == [2, 4, 3, 1]
    assert scores[0] == pytest.approx(1 / (RRF_K + 2) + 1 / (RRF_K + 1))


def test_fusion_breaks_ties_by_id() -> None:
    ranks = id_ranks(["z", "a"])
    assert reciprocal_rank_fusion([np.array([0, 1]), np.array([1, 0])], ranks, 2)[0].tolist() == [1, 0]


def test_exact_search_is_the_inner_product_over_all() -> None:
    vectors = clustered(500)
    ranks = np.arange(500)
    for query in clustered(10, seed=1):
        rows, scores = ExactIndex(vectors).search(query, 7, ranks)
        products = vectors @ query
        assert rows.tolist() == np.argsort(-products)[:7].tolist()
        assert np.allclose(scores, products[rows], atol=1e-6)


def test_approximate_search_finds_what_exact_search_finds(tmp_path: Path) -> None:
    vectors = clustered(4000)
    ranks = np.arange(len(vectors))
    built, exact = HnswIndex.build(vectors), ExactIndex(vectors)
    built.save(tmp_path / "graph")
    loaded = HnswIndex.load(tmp_path / "graph", vectors)
    found = 0
    for query in clustered(100, seed=1):
        expected = set(exact.search(query, 10, ranks)[0].tolist())
        rows, scores = loaded.search(query, 10, ranks)
        assert rows.tolist() == built.search(query, 10, ranks)[0].tolist()
        assert np.all(np.diff(scores) <= 0)
        found += len(expected & set(rows.tolist()))
    assert found / 1000 >= 0.95


def test_a_search_for_more_than_there_is_gives_all() -> None:
    vectors = clustered(5)
    assert len(ExactIndex(vectors).search(vectors[0], 50, np.arange(5))[0]) == 5
    assert len(HnswIndex.build(vectors).search(vectors[0], 50, np.arange(5))[0]) == 5
