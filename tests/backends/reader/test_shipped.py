from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from slarag.backends.protocol import AnswerRequest, VerifyRequest
from slarag.backends.reader.backend import EmbeddedReader
from slarag.backends.reader.store import SHIPPED, SHIPPED_DENSE, load_reader
from slarag.sla.evidence import Passage

PASSAGE = Passage(
    passage_id="p",
    document_id="d",
    text="Titan is the largest moon of Saturn. It was discovered in 1655 by Christiaan Huygens.",
)


def test_both_readers_together_are_small_enough_to_ship() -> None:
    sizes = [path.stat().st_size for folder in (SHIPPED_DENSE, SHIPPED) for path in folder.glob("*.safetensors")]
    assert len(sizes) == 2
    assert sum(sizes) <= 40_000_000


def test_one_is_dense_and_the_other_spends_a_budget() -> None:
    assert not load_reader(SHIPPED_DENSE)[0].encoder.config.is_dynamic
    config = load_reader(SHIPPED)[0].encoder.config
    assert config.experts > 1
    assert config.skip == "layer"


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "budget"), [(SHIPPED_DENSE, 1.0), (SHIPPED, 1.0), (SHIPPED, 0.8)])
def test_they_quote_the_answer(folder: Path, budget: float) -> None:
    async def run() -> None:
        reader = EmbeddedReader(folder=folder, threads=1)
        asked = AnswerRequest(question="Who discovered Titan?", passages=(PASSAGE,), compute_budget=budget)
        answer = await reader.answer(asked)
        await reader.aclose()
        assert answer.candidates[0].text == "Christiaan Huygens"

    asyncio.run(run())


@pytest.mark.slow
@pytest.mark.parametrize("budget", [1.0, 0.8])
def test_the_mixture_tells_a_claim_from_its_opposite(budget: float) -> None:
    async def supported(claim: str) -> float:
        reader = EmbeddedReader(folder=SHIPPED, threads=1)
        asked = VerifyRequest(question="", answer=claim, evidence=(PASSAGE,), compute_budget=budget)
        verdict = await reader.verify(asked)
        await reader.aclose()
        return verdict.supported

    claim = asyncio.run(supported("Titan is a moon of Saturn."))
    opposite = asyncio.run(supported("Titan is not a moon of Saturn."))
    assert claim > 0.5
    assert opposite < claim
