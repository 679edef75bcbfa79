"""`slarag pool bench`: what a pool does on this machine."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from ..sla.errors import ConfigurationError
from .options import AsJson
from .pool_options import simulated_device
from .streams import say, write, write_json

if TYPE_CHECKING:
    from ..backends.elastic.resize_bench.settings import Part

_ONLY_HELP = (
    "Measure this part beside a cold restart; may be repeated. By default all are measured, which takes minutes."
)

app = typer.Typer(help="Measure a pool on this machine.", no_args_is_help=True)


@app.callback()
def _bench() -> None: ...  # pyright: ignore[reportUnusedFunction] - makes `resize` a command of its own


@app.command()
def resize(  # noqa: PLR0913 - one parameter an option
    model: Annotated[
        Path | None,
        typer.Argument(
            metavar="MODEL", help="A Qwen3-MoE folder; by default a random one of 1.5 GB is made and thrown away."
        ),
    ] = None,
    *,
    before: Annotated[int, typer.Option("--from", min=1, metavar="N", help="Devices at the start.")] = 2,
    after: Annotated[int, typer.Option("--to", min=1, metavar="N", help="Devices to scale to, and back from.")] = 3,
    clients: Annotated[int, typer.Option(min=1, metavar="N", help="That ask without pause.")] = 8,
    repeats: Annotated[int, typer.Option(min=1, metavar="N", help="Of scaling up and down; the median counts.")] = 3,
    device: Annotated[
        str,
        typer.Option(
            metavar="PROFILE",
            help="What simulated devices behave as: ascend_910b, h200 or a YAML file.",
        ),
    ] = "ascend_910b",
    time_scale: Annotated[
        float, typer.Option(min=0.001, metavar="X", help="Seconds here for one of the simulated device's.")
    ] = 150.0,
    quick: Annotated[bool, typer.Option("--quick", help="Without the other ways to resize, and the ablation.")] = False,
    only: Annotated[list[str] | None, typer.Option(metavar="PART", help=_ONLY_HELP)] = None,
    as_json: AsJson = False,
) -> None:
    """Resize a pool under load, up and down, against what it replaces, in the same run.

    That is a cold restart, a further replica, a second pool, and its own parts taken away one after the other. Prints
    latencies, the throughput kept, failed requests, the peak of memory, and the bytes moved against the lower bound.
    Simulated devices follow: there copies do not take processor time from the model, as long as --time-scale is large
    enough for this host. simulated_late_share tells: the share by which steps took too long, near 0 where it kept up.
    """
    from ..backends.elastic.resize_bench.run import run
    from ..backends.elastic.resize_bench.settings import PARTS, QUICK_PARTS, BenchSettings

    simulated = simulated_device(device, time_scale)
    if unknown := sorted(set(only or ()).difference(PARTS)):
        raise ConfigurationError(f"there is no part {unknown[0]!r}", remedy=f"name one of {', '.join(PARTS)}")
    parts = cast("tuple[Part, ...]", tuple(only)) if only else (QUICK_PARTS if quick else PARTS)
    with tempfile.TemporaryDirectory(prefix="slarag-bench-") as scratch:
        settings = BenchSettings(
            model=model or _random_model(Path(scratch)),
            size=before,
            target=after,
            clients=clients,
            repeats=repeats,
            parts=parts,
            simulated=simulated,
        )
        say(f"measuring {before} -> {after} -> {before} devices; this loads the model several times")
        document = run(settings)
    document["workload"]["model"] = "random, 1.5 GB" if model is None else model.name
    if as_json:
        write_json(document)
    else:
        write("\n".join(_line(name, figure) for name, figure in document["figures"].items()))


def _random_model(folder: Path) -> Path:
    from ..backends.elastic.models.config import Qwen3MoeConfig
    from ..backends.elastic.models.random_model import make_random_model

    say("making a random model of 1.5 GB")
    config = Qwen3MoeConfig(
        vocab_size=2048,
        hidden_size=768,
        num_layers=10,
        num_heads=12,
        num_kv_heads=4,
        head_dim=64,
        num_experts=32,
        experts_per_token=2,
        moe_intermediate_size=1024,
        dtype="bfloat16",
    )
    return make_random_model(folder / "model", config)


def _line(name: str, figure: dict[str, Any]) -> str:
    value = figure["value"]
    shown = "not measured" if value is None else f"{value:,.3f}".rstrip("0").rstrip(".")
    return f"{name:32} {shown} {figure['unit']}".rstrip()
