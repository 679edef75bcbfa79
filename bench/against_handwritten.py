"""Questions per second and F1 of slarag against a LangChain chain written by hand, side by side in one run.

Both use the same passages, vectors, embedder and reader weights. Eight clients ask at a time. The chain reads the four
passages that LangChain's retrievers give when nothing else is said, and is run one question at a time and with eight
threads; the better of the two is what slarag is compared with. Only answerable questions that are not answered by yes
or no are asked, because the chain extracts spans and never abstains; slarag's best span counts even where its profile
would withhold it.

Each profile has its rows. `speedup` and `f1_gain` are those of the quickest profile whose F1 is not below the chain's,
or of the best one where none is that good; `speedup_of` names it.

    python bench/against_handwritten.py [--data FILE --limit N] [--profile fast balanced] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _common import Figure, document, show, spread
from _handwritten_chain import handwritten_chain

from slarag.backends.reader.backend import EmbeddedReader
from slarag.demo import pages_folder, questions_file
from slarag.engine import Engine
from slarag.evals.formats import load_dataset
from slarag.evals.indexing import build
from slarag.evals.intervals import mean
from slarag.evals.item import EvalItem
from slarag.evals.scoring import best_answer_f1
from slarag.retrievers.embedder import Embedder
from slarag.retrievers.index import IndexRetriever, build_index
from slarag.sla.matching import normalise_answer

CONCURRENCY = 8
BAR_SPEEDUP = 2.0
CHAINS = ("chain_one_at_a_time", "chain_threads")
Ask = Callable[[Sequence[str]], list[str]]


@dataclass(frozen=True)
class Side:
    """One of the systems. ask: answers to all questions, in order. before: runs before each round, not timed."""

    name: str
    ask: Ask
    before: Callable[[], None]


@dataclass
class Result:
    """Questions per second of each round, and the answers of the last."""

    rates: list[float]
    answers: list[str]


def main() -> None:
    options = _options()
    items = _items(options)
    with tempfile.TemporaryDirectory() as folder:
        results = asyncio.run(_measure(items, _index(options, Path(folder)), options))
    figures = _figures(items, results, options)
    headline = _headline(figures, options.profile)
    for name in ("speedup", "f1_gain"):
        figures[name] = figures[f"{headline}_{name}"]
    show(document(_workload(options, len(items), headline), figures), as_json=options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a question file; the shipped knowledge base without it")
    parser.add_argument("--limit", type=int, default=200, help="questions")
    parser.add_argument("--profile", nargs="+", default=["fast", "balanced"], help="slarag's profiles")
    parser.add_argument("--passages", type=int, default=4, help="passages that the chain reads")
    parser.add_argument("--rounds", type=int, default=3, help="each side runs once a round, in changing order")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    return parser.parse_args()


def _items(options: argparse.Namespace) -> list[EvalItem]:
    dataset = load_dataset(options.data or questions_file())
    fitting = [item for item in dataset.ranked(options.seed) if item.answers and not _is_closed(item)]
    return fitting[: options.limit]


def _is_closed(item: EvalItem) -> bool:
    return any(normalise_answer(answer) in ("yes", "no") for answer in item.answers)


def _index(options: argparse.Namespace, folder: Path) -> Path:
    if options.data is not None:
        return build(load_dataset(options.data).documents(), folder, lambda progress: None)
    build_index([pages_folder()], folder / "index")
    return folder / "index"


async def _measure(items: Sequence[EvalItem], folder: Path, options: argparse.Namespace) -> dict[str, Result]:
    # Neither side may keep a question's vector from the round before.
    embedder, reader = Embedder(cache_size=0), EmbeddedReader()
    retriever = IndexRetriever.open(folder, embedder)
    chain = handwritten_chain(retriever.index, embedder, options.passages)
    engine = Engine.open(retriever, backend=reader)

    def asking(profile: str) -> Ask:
        return lambda questions: [
            answer.best_text for answer in engine.batch(questions, profile, concurrency=CONCURRENCY)
        ]

    sides = [
        Side(CHAINS[0], lambda questions: [chain.invoke(q) for q in questions], lambda: None),
        Side(
            CHAINS[1],
            lambda questions: chain.batch(list(questions), config={"max_concurrency": CONCURRENCY}),
            lambda: None,
        ),
        *(Side(profile, asking(profile), reader.forget) for profile in options.profile),
    ]
    try:
        return await asyncio.to_thread(_rounds, sides, [item.question for item in items], options)
    finally:
        await engine.aclose()
        await reader.aclose()
        retriever.close()


def _rounds(sides: Sequence[Side], questions: Sequence[str], options: argparse.Namespace) -> dict[str, Result]:
    results = {side.name: Result([], []) for side in sides}
    rng = random.Random(options.seed)
    for side in sides:
        side.ask(questions[:CONCURRENCY])
    for _ in range(options.rounds):
        for side in rng.sample(sides, len(sides)):
            side.before()
            began = time.perf_counter()
            results[side.name].answers = side.ask(questions)
            results[side.name].rates.append(len(questions) / (time.perf_counter() - began))
    return results


def _figures(items: Sequence[EvalItem], results: dict[str, Result], options: argparse.Namespace) -> dict[str, Figure]:
    figures: dict[str, Figure] = {}
    scores = {name: _scores(items, result.answers) for name, result in results.items()}
    for name, result in results.items():
        figures[f"{name}_qps"] = spread(result.rates, "questions/s")
        figures[f"{name}_f1"] = {"unit": "share", **mean(scores[name], seed=options.seed).to_dict()}
    best = max((results[name].rates for name in CHAINS), key=statistics.median)
    for profile in options.profile:
        ratios = [a / b for a, b in zip(results[profile].rates, best, strict=True)]
        gains = [a - b for a, b in zip(scores[profile], scores[CHAINS[0]], strict=True)]
        figures[f"{profile}_speedup"] = spread(ratios, "ratio")
        figures[f"{profile}_f1_gain"] = {"unit": "share", **mean(gains, seed=options.seed).to_dict()}
    return figures


def _headline(figures: dict[str, Figure], profiles: Sequence[str]) -> str:
    as_good = [profile for profile in profiles if figures[f"{profile}_f1_gain"]["value"] >= 0]
    if not as_good:
        return max(profiles, key=lambda profile: figures[f"{profile}_f1_gain"]["value"])
    return max(as_good, key=lambda profile: figures[f"{profile}_speedup"]["value"])


def _workload(options: argparse.Namespace, questions: int, headline: str) -> dict[str, Any]:
    return {
        "data": options.data.name if options.data else "the shipped knowledge base",
        "questions": questions,
        "concurrency": CONCURRENCY,
        "profiles": options.profile,
        "chain_passages": options.passages,
        "rounds": options.rounds,
        "seed": options.seed,
        "bar_speedup": BAR_SPEEDUP,
        "speedup_of": headline,
    }


def _scores(items: Sequence[EvalItem], answers: Sequence[str]) -> list[float]:
    return [best_answer_f1(answer, item.answers) for item, answer in zip(items, answers, strict=True)]


if __name__ == "__main__":
    main()
