"""A reader with experts on a pool: each device has its share of them, and the answers are those of one process.

One pool in full precision serves all tests here, with a small reader of random weights.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest
import torch

from slarag.backends.elastic.cluster.reader_options import ReaderOptions
from slarag.backends.elastic.serve.reading import Answered, Question, ReadingEngine
from slarag.backends.reader.backend import ReadFunction
from slarag.backends.reader.config import EncoderConfig
from slarag.backends.reader.dynamic_encoder import DynamicEncoder
from slarag.backends.reader.model import Reader
from slarag.backends.reader.parent import load_tokenizer
from slarag.backends.reader.reading import Reading
from slarag.backends.reader.store import ReaderSettings, load_reader, save_reader
from slarag.backends.reader.windows import Windower
from slarag.sla.evidence import Passage

CONFIG = EncoderConfig(
    num_layers=3,
    intermediate_size=96,
    experts=4,
    top_k=1,
    shared_size=32,
    expert_size=64,
    added_layers=(1,),
    skip="layer",
)
LAYERS, EXPERTS = CONFIG.num_layers, CONFIG.experts
WORDS = ("tower", "bridge", "river", "stone", "keeper", "light", "harbour", "canal", "island", "ship", "winter")
BUDGETS = (1.0, 0.8, 0.6, 0.4)


def texts(count: int, words: int) -> list[str]:
    draw = random.Random(words)
    return [" ".join(draw.choices(WORDS, k=words + 7 * n)) for n in range(count)]


QUESTIONS = [
    Question(
        text=f"Which {first}?",
        passages=tuple(Passage(passage_id=text, document_id="0", text=text) for text in texts(3, 20 + 30 * at)),
        compute_budget=budget,
        compute_floor=budget,
    )
    for at, (first, budget) in enumerate(zip(texts(4, 3), BUDGETS, strict=True))
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    reader = Reader(CONFIG)
    assert isinstance(reader.encoder, DynamicEncoder)
    with torch.no_grad():
        for name, parameter in reader.encoder.layers.named_parameters():
            if "norm" not in name:
                parameter.normal_(std=0.5 if "router" in name else 0.08)
        reader.encoder.schedule.fit(torch.randn(500, LAYERS))
    made = tmp_path_factory.mktemp("routed")
    save_reader(reader, ReaderSettings(), made)
    return made


@pytest.fixture(scope="module")
def engine(folder: Path, runner: asyncio.Runner) -> Generator[ReadingEngine]:
    options = ReaderOptions(model=folder, devices=1, low_precision=False, hang_seconds=20.0, page_bytes=1 << 16)
    made = runner.run(ReadingEngine.start(options))
    yield made
    runner.run(made.aclose())


@pytest.fixture(scope="module")
def expected(folder: Path) -> list[list[Reading]]:
    """Each pair read alone, in this process, with all experts."""
    model, _ = load_reader(folder)
    read, windower = ReadFunction(model, 1, low_precision=False), Windower(load_tokenizer())
    return [
        [read(windower.windows(asked.text, passage.text, asked.compute_budget))[0] for passage in asked.passages]
        for asked in QUESTIONS
    ]


async def answer_all(engine: ReadingEngine) -> list[Answered]:
    engine.forget()
    return await asyncio.gather(*map(engine.answer, QUESTIONS))


def assert_same(found: Sequence[Answered], expected: list[list[Reading]]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        for mine, known in zip(ours.readings, theirs, strict=True):
            assert mine.support == pytest.approx(known.support, abs=1e-5)
            assert mine.answer_logit == pytest.approx(known.answer_logit, abs=1e-4)
            assert mine.spent == pytest.approx(known.spent)
            places = {(span.start, span.end): span.probability for span in known.spans}
            assert (mine.spans[0].start, mine.spans[0].end) == (known.spans[0].start, known.spans[0].end)
            assert all(span.probability == pytest.approx(places[span.start, span.end], abs=1e-5) for span in mine.spans)


def holdings(engine: ReadingEngine) -> dict[int, Counter[int]]:
    """How many experts of each layer each device's memory has."""
    found: dict[int, Counter[int]] = {}
    for number in engine.cluster.devices:
        with engine.cluster.memory.client.attached(number) as attachment:
            names = [name.split(".") for name in attachment.regions if ".experts." in name]
        found[number] = Counter(int(layer) for _, layer, _, _ in names)
    return found


def assert_spread(engine: ReadingEngine) -> None:
    held = holdings(engine)
    share = EXPERTS // len(held)
    for counts in held.values():
        assert {counts[layer] for layer in range(LAYERS)} <= {share, share + 1}
    for layer in range(LAYERS):
        assert sum(counts[layer] for counts in held.values()) == EXPERTS


def test_answers_are_the_same_on_any_number_of_devices_and_through_resizes(
    engine: ReadingEngine, runner: asyncio.Runner, expected: list[list[Reading]]
) -> None:
    async def use() -> None:
        assert_same(await answer_all(engine), expected)
        for size in (2, 3, 1, 2):
            running = asyncio.create_task(answer_all(engine))
            await asyncio.sleep(0)
            status = await engine.resize(size)
            assert status.bytes_moved == status.bytes_lower_bound
            assert_same(await running, expected)
            await asyncio.to_thread(assert_spread, engine)
            assert_same(await answer_all(engine), expected)

    runner.run(use())


def test_devices_ask_each_other_for_the_experts_that_they_lack(engine: ReadingEngine, runner: asyncio.Runner) -> None:
    async def use() -> None:
        await engine.resize(2)
        await answer_all(engine)
        for device in engine.cluster.devices.values():
            await engine.cluster.tell(device, "routing")
        await answer_all(engine)
        told = [await engine.cluster.tell(device, "routing") for device in engine.cluster.devices.values()]
        sent = torch.tensor([reply["counts"] for reply in told])
        owners = [engine.cluster.placement.owners[layer] for layer in range(LAYERS)]
        elsewhere = torch.tensor(
            [[[owner != number for owner in layer] for layer in owners] for number in engine.cluster.devices]
        )
        assert int((sent * elsewhere).sum()) > 0
        # Layers run under a budget: not every token is active in each of them.
        tokens = LAYERS * sum(reading.tokens for each in await answer_all(engine) for reading in each.readings)
        assert 0 < int(sent.sum()) < tokens

    runner.run(use())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_lost_worker_changes_no_answer(
    engine: ReadingEngine, runner: asyncio.Runner, expected: list[list[Reading]], how: signal.Signals
) -> None:
    async def use() -> None:
        await engine.resize(2)
        for device in list(engine.cluster.devices.values()):
            running = asyncio.create_task(answer_all(engine))
            await asyncio.sleep(0.02)
            assert device.worker is not None
            os.kill(device.worker.pid, how)
            assert_same(await running, expected)
            await asyncio.gather(*(other.serving.wait() for other in engine.cluster.devices.values()))
            assert_same(await answer_all(engine), expected)

    runner.run(use())
