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

from _common import Figure, document, median, show
from _handwritten_graph import handwritten
from _percentiles import quantile
from _stubs import QUESTION, StubBackend, StubRetriever

from slarag.engine import Engine

BAR_MS = 8.0
BAR_RATIO = 2.0


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
        ours: list[float] = []
        theirs: list[float] = []
        for _ in range(queries):
            began = time.perf_counter()
            await engine.aask(QUESTION)
            between = time.perf_counter()
            await graph.ainvoke({"question": QUESTION})
            ours.append((between - began) * 1000)
            theirs.append((time.perf_counter() - between) * 1000)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return plan.key, {
        f"{profile}_slarag_p50_ms": median(ours, "ms"),
        f"{profile}_slarag_p95_ms": quantile(ours, 0.95, "ms"),
        f"{profile}_langgraph_p50_ms": median(theirs, "ms"),
        f"{profile}_ratio_p50": median(ratios, "ratio"),
    }


if __name__ == "__main__":
    main()
