"""`slarag pool simulate`: scaling policies on a recorded trace, without a pool."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..sla.errors import ConfigurationError
from .options import AsJson
from .streams import progress, say, write, write_json

if TYPE_CHECKING:
    from ..backends.pool.service import ServiceModel


def simulate(  # noqa: PLR0913 - one parameter an option
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
    model: Annotated[
        Path | None, typer.Option("--model", metavar="FILE", help="A device's figures, as --save-model wrote them.")
    ] = None,
    url: Annotated[
        str | None, typer.Option("--url", metavar="URL", help="A pool that serves with --autoscale: its figures.")
    ] = None,
    save_model: Annotated[
        Path | None, typer.Option("--save-model", metavar="FILE", help="Write the figures that are simulated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Simulate slarag's scaling policy and four reference policies on a trace.

    Prints attainment and device-seconds of each; references are tuned with hindsight to the same attainment. Everything
    it prints is simulated.

    A device is made up unless --model or --url tells what one was measured to do: its steps, its resizes and its start.
    """
    from ..backends.pool.comparison import ComparisonSettings, compare_policies
    from ..backends.pool.service import Objectives
    from ..backends.pool.service_file import save_service_model
    from ..backends.pool.trace import load_trace

    service = _service_model(model, url)
    if save_model is not None:
        save_service_model(service, save_model)
    arrivals = load_trace(trace, until_s=60 * minutes)
    objectives = Objectives(ttft_s=ttft_ms / 1000, itl_s=itl_ms / 1000, share=share)
    say(f"simulating {minutes:g} minutes of {trace.name} under several settings of five policies")
    settings = ComparisonSettings(model=service, objectives=objectives, minutes=minutes, ceiling=ceiling)
    with progress("simulating") as advance:
        found = compare_policies(arrivals, settings, name=trace.name, on_progress=advance)
    if as_json:
        from ..evals.machine import machine

        write_json({"machine": machine(), **found.to_dict()})
    else:
        write(found.table())


def _service_model(file: Path | None, url: str | None) -> ServiceModel:
    from ..backends.pool.service import ServiceModel
    from ..backends.pool.service_file import from_figures, load_service_model
    from .pool_client import PoolClient

    if file is not None and url is not None:
        raise ConfigurationError("--model and --url both say what a device does", remedy="give one of them")
    if file is not None:
        return load_service_model(file)
    if url is None:
        return ServiceModel()
    with PoolClient(url) as client:
        figures = client.pool().get("service_model")
    if not figures:
        raise ConfigurationError(
            f"the pool at {url} has measured nothing", remedy="start it with --autoscale, which measures it first"
        )
    return from_figures(figures)
