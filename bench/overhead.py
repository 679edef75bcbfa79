"""slarag's own time per query beside the same graph hand-written in bare LangGraph, interleaved in one run.

Retrieval and models return at once, so what is measured is slarag: intent, mapping, building and running the graph,
confidence and report. The hand-written graph has the same nodes as the plan that the mapper chose, and none of the
rest.

    python bench/overhead.py [--queries N] [--profile P ...] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass

from _common import Figure, document, median, show
from _handwritten_graph import handwritten
from _percentiles import quantile
from _stubs import QUESTION, StubBackend, StubRetriever

from slarag.engine import Engine

BAR_MS = 8.0
BAR_RATIO = 2.0


@dataclass(frozen=True, kw_only=True)
class Timed:
    """One query. cpu_ms: this process's processor time, which other programs on the machine do not stretch."""

    wall_ms: float
    cpu_ms: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=500, help="of each kind, for each profile")
    parser.add_argument("--profile", action="append", help="default: all that ship")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    profiles = options.profile or ["fast", "balanced", "thorough", "safe"]
    figures: dict[str, Figure] = {}
    plans: dict[str, str] = {}
    for profile in profiles:
        plan, measured = asyncio.run(_measure(profile, options.queries))
        figures |= measured
        plans[profile] = plan
    workload = {"queries": options.queries, "plans": plans, "bar_ms": BAR_MS, "bar_ratio": BAR_RATIO}
    show(document(workload, figures), as_json=options.json)


async def _measure(profile: str, queries: int) -> tuple[str, dict[str, Figure]]:
    retriever, backend = StubRetriever(), StubBackend()
    async with Engine.open(retriever, backend=backend, profile=profile) as engine:
        plan = (await engine.aexplain(QUESTION)).plan
        graph = handwritten(plan, retriever, backend)
        for _ in range(20):
            await engine.aask(QUESTION)
            await graph.ainvoke({"question": QUESTION})
        ours: list[Timed] = []
        theirs: list[Timed] = []
        for _ in range(queries):
            ours.append(await _timed(engine.aask(QUESTION)))
            theirs.append(await _timed(graph.ainvoke({"question": QUESTION})))
    pairs = list(zip(ours, theirs, strict=True))
    return plan.key, {
        f"{profile}_slarag_p50_ms": median([one.wall_ms for one in ours], "ms"),
        f"{profile}_slarag_p95_ms": quantile([one.wall_ms for one in ours], 0.95, "ms"),
        f"{profile}_langgraph_p50_ms": median([one.wall_ms for one in theirs], "ms"),
        f"{profile}_ratio_p50": median([a.wall_ms / b.wall_ms for a, b in pairs], "ratio"),
        f"{profile}_cpu_ratio_p50": median([a.cpu_ms / b.cpu_ms for a, b in pairs], "ratio"),
    }


async def _timed(work: Awaitable[object]) -> Timed:
    wall, cpu = time.perf_counter(), time.process_time()
    await work
    return Timed(wall_ms=(time.perf_counter() - wall) * 1000, cpu_ms=(time.process_time() - cpu) * 1000)


if __name__ == "__main__":
    main()
