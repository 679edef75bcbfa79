"""How far past its deadline a query returns when its backend stalls, hangs, blocks or streams for ever.

Each query's overrun is the time from its deadline to its answer, as its caller sees it; an answer before the deadline
has none. After the last query, and the time that the worst backend needs to end, tasks and threads are counted.

    python bench/deadlines.py [--queries N] [--concurrency N] [--deadline-ms MS] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import threading
import time

from _common import Figure, document, show
from _percentiles import counted, quantile
from _stubs import QUESTION, StubBackend, StubRetriever, block, hang, stall, stream

from slarag.engine import Engine
from slarag.sla.objectives import LatencyObjective, Objectives
from slarag.sla.plan import Plan
from slarag.sla.profile import Profile

BAR_MS = 50.0
STEPS = {"stalls": stall, "hangs": hang, "blocks": block, "streams": stream}
PLANS = [Plan(), Plan(rerank=True, hops=2), Plan(replicas=3, arbitration="majority")]
SETTLE_S = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=500, help="in all, over the kinds of bad backend")
    parser.add_argument("--concurrency", type=int, default=4)
    parser.add_argument("--deadline-ms", type=float, default=100.0)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    options = parser.parse_args()
    before = set(threading.enumerate())
    overruns, tasks = asyncio.run(_measure(options))
    threads = len(set(threading.enumerate()) - before)
    everything = [overrun for kind in overruns.values() for overrun in kind]
    figures: dict[str, Figure] = {"overrun_p99_ms": quantile(everything, 0.99, "ms")}
    for kind, values in overruns.items():
        figures[f"overrun_{kind}_p99_ms"] = quantile(values, 0.99, "ms")
    figures["overrun_max_ms"] = counted(max(everything), "ms", len(everything))
    figures["tasks_left"] = counted(tasks, "tasks", len(everything))
    figures["threads_left"] = counted(threads, "threads", len(everything))
    workload = {name: getattr(options, name) for name in ("queries", "concurrency", "deadline_ms")}
    show(document({**workload, "bar_ms": BAR_MS}, figures), as_json=options.json)


async def _measure(options: argparse.Namespace) -> tuple[dict[str, list[float]], int]:
    latency = LatencyObjective(p95_ms=options.deadline_ms, deadline_ms=options.deadline_ms)
    profile = Profile(name="deadline", priority="latency", objectives=Objectives(latency=latency))
    each = options.queries // len(STEPS)
    overruns = {kind: await _overruns(kind, profile, each, options.concurrency) for kind in STEPS}
    await asyncio.sleep(SETTLE_S)
    return overruns, len(asyncio.all_tasks()) - 1


async def _overruns(kind: str, profile: Profile, queries: int, concurrency: int) -> list[float]:
    assert profile.objectives.latency is not None
    deadline_ms = profile.objectives.latency.deadline_ms
    free = asyncio.Semaphore(concurrency)
    backends = [StubBackend(name=str(number), step=STEPS[kind]) for number in range(3)]
    async with Engine.open(StubRetriever(), backend=backends, profile=profile) as engine:
        await engine.aask(QUESTION, plan=PLANS[0])

        async def one(number: int) -> float:
            async with free:
                began = time.perf_counter()
                await engine.aask(QUESTION, plan=PLANS[number % len(PLANS)])
                return max(0.0, (time.perf_counter() - began) * 1000 - deadline_ms)

        return list(await asyncio.gather(*(one(number) for number in range(queries))))


if __name__ == "__main__":
    main()
