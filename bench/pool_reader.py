"""The embedded reader on a pool of one and of two devices beside the reader in this process, in turns.

One question at a time tells what the way through HTTP and processes costs; sixteen at a time what a second device is
worth. Each device, and the reader here, has one thread. No pair of question and passage is read twice.

    python bench/pool_reader.py [--rounds N] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import time
from collections.abc import Sequence

from _common import Figure, document, show, spread

from slarag.backends.pool_backend import PoolBackend
from slarag.backends.pool_process import PoolProcess
from slarag.backends.protocol import AnswerRequest, Backend
from slarag.backends.reader.backend import EmbeddedReader
from slarag.sla.evidence import Passage

CONCURRENCY = 16
_PASSAGES = tuple(
    Passage(passage_id=str(n), document_id=str(n), text=f"The tower of Alder stands at mile {n}. " * 20)
    for n in range(5)
)
_numbers = itertools.count()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    one, two = PoolProcess.start(devices=1), PoolProcess.start(devices=2)
    try:
        figures = asyncio.run(_measure(one.url, two.url, options.rounds))
    finally:
        one.close()
        two.close()
    workload = {"passages": len(_PASSAGES), "concurrency": CONCURRENCY, "rounds": options.rounds}
    show(document(workload, figures), as_json=options.json)


async def _measure(one: str, two: str, rounds: int) -> dict[str, Figure]:
    backends: dict[str, Backend] = {
        "embedded": EmbeddedReader(threads=1),
        "pool_1": PoolBackend(one),
        "pool_2": PoolBackend(two),
    }
    alone: dict[str, list[float]] = {name: [] for name in backends}
    many: dict[str, list[float]] = {name: [] for name in backends}
    try:
        for backend in backends.values():
            await _seconds(backend, CONCURRENCY)
        for _ in range(rounds):
            for name, backend in backends.items():
                alone[name].append(await _seconds(backend, 1))
                many[name].append(await _seconds(backend, CONCURRENCY) / CONCURRENCY)
    finally:
        for backend in backends.values():
            await backend.aclose()
    return {
        "embedded_ms": spread([1000 * each for each in alone["embedded"]], "ms"),
        "pool_1_ms": spread([1000 * each for each in alone["pool_1"]], "ms"),
        "pool_1_latency_over_embedded": spread(_ratios(alone["pool_1"], alone["embedded"]), "ratio"),
        "pool_1_throughput_over_embedded": spread(_ratios(many["embedded"], many["pool_1"]), "ratio"),
        "pool_2_throughput_over_pool_1": spread(_ratios(many["pool_1"], many["pool_2"]), "ratio"),
    }


async def _seconds(backend: Backend, count: int) -> float:
    requests = [AnswerRequest(question=f"Where is {next(_numbers)}?", passages=_PASSAGES) for _ in range(count)]
    began = time.perf_counter()
    await asyncio.gather(*map(backend.answer, requests))
    return time.perf_counter() - began


def _ratios(above: Sequence[float], below: Sequence[float]) -> list[float]:
    return [a / b for a, b in zip(above, below, strict=True)]


if __name__ == "__main__":
    main()
