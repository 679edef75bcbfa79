"""Goodput of a pool of readers at twice the load that it can sustain, with and without brown-out, in turn.

    python bench/brown_out.py --data FILE [--seconds S] [--rounds N] [--floor F] [--deadline S] [--json]

FILE holds question rows (`context`, `question`, `answers`, `is_impossible`). The sustainable load is what a closed loop
gets answered. Requests then arrive at twice that rate, at random, each with a deadline; goodput counts those answered
in time. `valid` is the share of the answers whose text stands in the passage at its offsets.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import math
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from _common import Figure, document, share, show, spread

from slarag.backends.elastic.cluster.reader_options import ReaderOptions
from slarag.backends.elastic.serve.brown_out import PATIENCE_S
from slarag.backends.elastic.serve.reading import Answered, Question, ReadingEngine
from slarag.backends.reader.store import SHIPPED
from slarag.backends.training.sources import Row, read_rows
from slarag.sla.errors import SlaragError
from slarag.sla.evidence import Passage
from slarag.sla.matching import best_f1, normalise_answer

OVERLOAD = 2.0
IN_FLIGHT = 24


@dataclass
class _Round:
    """What one round came to. answered: in time; f1: of those with an answer."""

    asked: int = 0
    answered: int = 0
    valid: int = 0
    seconds: float = 0.0
    f1: list[float] = field(default_factory=list)
    spent: list[float] = field(default_factory=list)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="question rows, JSON Lines")
    parser.add_argument("--reader", type=Path, default=SHIPPED, help="default: the mixture that ships")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=15.0, help="of load in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--floor", type=float, default=0.4, help="compute floor of every request")
    parser.add_argument("--deadline", type=float, default=1.0, help="seconds that a request may take")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    figures = asyncio.run(_measure(options))
    names = ("devices", "seconds", "rounds", "floor", "deadline")
    workload = {"data": options.data.name, "overload": OVERLOAD, **{name: getattr(options, name) for name in names}}
    show(document(workload, figures), as_json=options.json)


async def _measure(options: argparse.Namespace) -> dict[str, Figure]:
    rows = [row for row in read_rows(options.data) if not row["is_impossible"]]
    random.Random(0).shuffle(rows)
    engine = await ReadingEngine.start(
        ReaderOptions(model=options.reader, devices=options.devices), max_waiting=100_000
    )
    try:
        fresh = itertools.cycle(rows)
        engine.brown_out.patience_s = math.inf
        await _saturated(engine, fresh, options, 3.0)
        rate = OVERLOAD * await _saturated(engine, fresh, options, options.seconds / 2)
        rounds: dict[str, list[_Round]] = {"without": [], "with": []}
        for _ in range(options.rounds):
            for name, patience in (("without", math.inf), ("with", PATIENCE_S)):
                engine.brown_out.patience_s = patience
                rounds[name].append(await _overloaded(engine, fresh, options, rate))
    finally:
        await engine.aclose()
    return _figures(rounds, rate)


async def _saturated(
    engine: ReadingEngine, rows: itertools.cycle[Row], options: argparse.Namespace, seconds: float
) -> float:
    """Requests a second that a closed loop gets answered."""
    done = 0
    end = time.monotonic() + seconds

    async def client() -> None:
        nonlocal done
        while time.monotonic() < end:
            await engine.answer(_question(next(rows), options, deadline=None))
            done += 1

    began = time.monotonic()
    await asyncio.gather(*(client() for _ in range(IN_FLIGHT)))
    return done / (time.monotonic() - began)


async def _overloaded(
    engine: ReadingEngine, rows: itertools.cycle[Row], options: argparse.Namespace, rate: float
) -> _Round:
    """One round of requests that arrive at `rate` a second."""
    engine.forget()
    found, arrivals = _Round(), random.Random(1)
    tasks: list[asyncio.Task[None]] = []
    began = time.monotonic()
    due = began
    while due < began + options.seconds:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        tasks.append(asyncio.create_task(_ask(engine, next(rows), options, found, due)))
        due += arrivals.expovariate(rate)
    await asyncio.gather(*tasks)
    found.seconds = options.seconds
    return found


async def _ask(engine: ReadingEngine, row: Row, options: argparse.Namespace, found: _Round, due: float) -> None:
    found.asked += 1
    try:
        answered = await engine.answer(_question(row, options, deadline=due + options.deadline))
    except SlaragError:
        return
    if time.monotonic() > due + options.deadline:
        return
    found.answered += 1
    found.valid += _is_valid(answered, row["context"])
    found.spent.append(answered.compute_spent)
    best = answered.combined.candidates[0].text if answered.combined.candidates else ""
    found.f1.append(best_f1(best, row["answers"]))


def _question(row: Row, options: argparse.Namespace, deadline: float | None) -> Question:
    passage = Passage(passage_id="0", document_id="0", text=row["context"])
    return Question(text=row["question"], passages=(passage,), deadline=deadline, compute_floor=options.floor)


def _is_valid(answered: Answered, text: str) -> bool:
    """Whether each candidate is what stands at its first span in `text`, and its other spans say the same."""
    candidates = answered.combined.candidates
    found = [(one.text, [text[max(0, span.start) : span.end] for span in one.spans]) for one in candidates]
    return bool(found) and all(spans and said == spans[0] and _agree(spans) for said, spans in found)


def _agree(texts: Sequence[str]) -> bool:
    return all(texts) and len({normalise_answer(text) for text in texts}) == 1


def _figures(rounds: dict[str, list[_Round]], rate: float) -> dict[str, Figure]:
    goodput = {name: [one.answered / one.seconds for one in several] for name, several in rounds.items()}
    ratios = [ours / theirs for ours, theirs in zip(goodput["with"], goodput["without"], strict=True)]
    figures = {"arrivals_per_s": spread([rate], "requests/s"), "goodput_ratio": spread(ratios, "ratio")}
    for name, several in rounds.items():
        figures |= {
            f"goodput_{name}": spread(goodput[name], "requests/s"),
            f"f1_{name}": spread([_mean(one.f1) for one in several], "F1"),
            f"compute_spent_{name}": spread([_mean(one.spent) for one in several], "share"),
            f"valid_{name}": share(sum(one.valid for one in several), max(1, sum(one.answered for one in several))),
        }
    return figures


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))


if __name__ == "__main__":
    main()
