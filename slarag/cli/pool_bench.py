"""`slarag pool bench`: what a pool does on this machine."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import AsJson
from .streams import say, write, write_json

app = typer.Typer(help="Measure a pool on this machine.", no_args_is_help=True)


@app.callback()
def _bench() -> None: ...  # pyright: ignore[reportUnusedFunction] - makes `resize` a command of its own


@app.command()
def resize(
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
    answer_tokens: Annotated[int, typer.Option(min=1, metavar="N", help="Of each answer.")] = 64,
    standbys: Annotated[int, typer.Option(min=0, metavar="N", help="Booted workers without memory.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Resize a pool under load, up and down, against a cold restart in the same run.

    Prints the latencies, the throughput kept, failed requests, the peak of memory, and the bytes moved against the
    lower bound.
    """
    from ..backends.elastic import bench_resize
    from ..backends.elastic.cluster.options import PoolOptions

    with tempfile.TemporaryDirectory(prefix="slarag-bench-") as scratch:
        folder = model or _random_model(Path(scratch))
        options = PoolOptions(model=folder, devices=before, min_devices=min(before, after), standbys=standbys)
        say(f"measuring {before} -> {after} -> {before} devices; this loads the model twice")
        figures = asyncio.run(bench_resize.measure(options, after, clients=clients, answer_tokens=answer_tokens))
    workload = {
        "model": "random, 1.5 GB" if model is None else model.name,
        "from": before,
        "to": after,
        "clients": clients,
        "answer_tokens": answer_tokens,
        "standbys": standbys,
    }
    document = bench_resize.document(figures, workload)
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
