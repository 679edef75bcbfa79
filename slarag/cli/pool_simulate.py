"""`slarag pool simulate`: scaling policies on a recorded trace, without a pool."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .options import AsJson
from .streams import progress, say, write, write_json


def simulate(
    trace: Annotated[
        Path,
        typer.Option("--trace", metavar="FILE", help="JSON lines with t, input_tokens, output_tokens; may be .gz."),
    ],
    *,
    minutes: Annotated[float, typer.Option(min=0.1, metavar="M", help="Of the trace.")] = 60.0,
    ttft_ms: Annotated[float, typer.Option(min=1, metavar="MS", help="Objective for the first token.")] = 1000.0,
    itl_ms: Annotated[float, typer.Option(min=1, metavar="MS", help="Objective between tokens.")] = 100.0,
    share: Annotated[float, typer.Option(min=0.01, max=1, help="Of the requests that must see both.")] = 0.99,
    ceiling: Annotated[int, typer.Option(min=1, max=1000, metavar="N", help="Devices at most.")] = 32,
    as_json: AsJson = False,
) -> None:
    """Simulate slarag's scaling policy and four reference policies on a trace.

    Prints attainment and device-seconds of each; references are tuned with hindsight to the same attainment. Everything
    it prints is simulated.
    """
    from ..backends.pool.comparison import ComparisonSettings, compare_policies
    from ..backends.pool.service import Objectives
    from ..backends.pool.trace import load_trace

    arrivals = load_trace(trace, until_s=60 * minutes)
    objectives = Objectives(ttft_s=ttft_ms / 1000, itl_s=itl_ms / 1000, share=share)
    say(f"simulating {minutes:g} minutes of {trace.name} under several settings of five policies")
    settings = ComparisonSettings(objectives=objectives, minutes=minutes, ceiling=ceiling)
    with progress("simulating") as advance:
        found = compare_policies(arrivals, settings, name=trace.name, on_progress=advance)
    if as_json:
        from ..evals.machine import machine

        write_json({"machine": machine(), **found.to_dict()})
    else:
        write(found.table())
