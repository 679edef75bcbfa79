"""`slarag pool`: serve models on a pool of devices that grows and shrinks while it serves."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from typing import Annotated, Any

import typer

from ..backends.pool.observation import PolicyName
from . import pool_bench, pool_simulate
from .options import AsJson
from .pool_client import DEFAULT_PORT, DEFAULT_URL, TOKEN, PoolClient, PoolUrl
from .pool_options import READER, autoscaler, pool_options
from .serve import is_loopback, require_server
from .streams import console, say, show, write, write_json

app = typer.Typer(
    help="Serve models on a pool of devices that grows and shrinks while it serves.", no_args_is_help=True
)

_TtftMs = Annotated[float, typer.Option(min=1, metavar="MS", help="Objective for the first token, or a whole answer.")]
_ItlMs = Annotated[float, typer.Option(min=1, metavar="MS", help="Objective between tokens.")]


@app.command()
def serve(  # noqa: PLR0913 - one parameter an option
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="`reader`, a reader's folder, or a Qwen3-MoE checkpoint's folder.")
    ] = READER,
    *,
    devices: Annotated[int, typer.Option("--devices", "-n", min=1, metavar="N", help="Devices at the start.")] = 1,
    standbys: Annotated[int, typer.Option(min=0, metavar="N", help="Booted workers without memory.")] = 1,
    threads: Annotated[int, typer.Option(min=1, metavar="N", help="Threads of a device.")] = 1,
    kv_blocks: Annotated[
        int, typer.Option(min=1, metavar="N", help="A device's KV blocks of 16 tokens; readers have none.")
    ] = 512,
    hot_expert_copies: Annotated[
        int, typer.Option(min=0, metavar="N", help="Copies of the busiest experts that a device may hold.")
    ] = 0,
    device: Annotated[
        str | None,
        typer.Option(
            metavar="PROFILE",
            help="Simulate this accelerator: ascend_910b, h200 or a YAML file; its figures are simulated.",
        ),
    ] = None,
    may_sleep: Annotated[
        bool, typer.Option("--may-sleep", help="Can be scaled to 0 devices; the next request starts it again.")
    ] = False,
    time_scale: Annotated[
        float, typer.Option(min=0.001, metavar="X", help="Seconds here for one of the simulated device's.")
    ] = 1.0,
    autoscale: Annotated[
        bool, typer.Option("--autoscale", help="Grow and shrink by a policy, from --min-devices to --max-devices.")
    ] = False,
    min_devices: Annotated[
        int, typer.Option(min=0, metavar="N", help="Devices at least; 0 lets a quiet pool sleep.")
    ] = 1,
    max_devices: Annotated[int, typer.Option(min=1, metavar="N", help="Devices at most.")] = 4,
    policy: Annotated[
        PolicyName, typer.Option(help="slarag's, a threshold on requests in flight, or a target for them.")
    ] = "forecast",
    ttft_ms: _TtftMs = 1000.0,
    itl_ms: _ItlMs = 100.0,
    share: Annotated[
        float, typer.Option(min=0.01, max=0.9999, metavar="X", help="Of the requests that must see both objectives.")
    ] = 0.99,
    deadline_share: Annotated[
        float | None,
        typer.Option(min=0.01, max=0.9999, metavar="X", help="Of the requests with a deadline that must meet it."),
    ] = None,
    interval: Annotated[float, typer.Option(min=0.1, metavar="S", help="Seconds between two decisions.")] = 5.0,
    max_waiting: Annotated[int, typer.Option(min=1, metavar="N", help="Requests that may wait; more get 429.")] = 1024,
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="The port to listen on; 0 takes a free one.")
    ] = DEFAULT_PORT,
) -> None:
    """Serve a model until interrupted; what runs is finished first.

    The reader answers /v1/answers and /v1/completions, a Qwen3-MoE checkpoint /v1/completions and /v1/chat/completions.
    Resizes need the token in SLARAG_POOL_TOKEN; without one nobody else resizes it.

    With --autoscale the pool first measures its steps and a resize for a few seconds, then sizes itself for --ttft-ms
    and --itl-ms. Each decision is a line here, and in `slarag pool status`.
    """
    require_server()
    token = os.environ.get(TOKEN, "").strip() or None
    sizes = {"devices": devices, "min_devices": 1, "standbys": standbys, "threads": threads}
    sizes["hot_expert_copies"] = hot_expert_copies
    options = pool_options(model, kv_blocks=kv_blocks, device=device, time_scale=time_scale, **sizes)
    if not is_loopback(host):
        say(f"{host} can be reached from other machines, and whoever reaches it can ask")
    if token is None:
        say(f"{TOKEN} is not set: nobody{' else' if autoscale else ''} can resize this pool")
    from ..backends.elastic.http.serve import serve_pool
    from ..backends.pool.service import Objectives

    objectives = Objectives(ttft_s=ttft_ms / 1000, itl_s=itl_ms / 1000, share=share, deadline_share=deadline_share)
    scaler = (
        autoscaler(policy, range(min_devices, max_devices + 1), devices, objectives, interval) if autoscale else None
    )

    def ready(url: str) -> None:
        say(f"serving {model} on {devices} {'simulated ' if device else ''}devices at {url}")

    asyncio.run(
        serve_pool(
            options,
            token=token,
            host=host,
            port=port,
            max_waiting=max_waiting,
            may_sleep=may_sleep or (autoscale and min_devices == 0),
            autoscaler=scaler,
            on_ready=ready,
        )
    )


@app.command()
def status(
    url: PoolUrl = DEFAULT_URL,
    *,
    once: Annotated[bool, typer.Option("--once", help="Print it once instead of following it.")] = False,
    as_json: AsJson = False,
    interval: Annotated[float, typer.Option(min=0.1, metavar="S", help="Seconds between two looks.")] = 1.0,
    ttft_ms: _TtftMs = 1000.0,
    itl_ms: _ItlMs = 100.0,
) -> None:
    """Show a pool: devices, memory, experts, queue, attainment and the last resizes.

    In a terminal it is followed until interrupted.

    Attainment is the share of requests within an objective: since the pool's start when printed once, since the
    command's start when followed.
    """
    objectives = {"ttft": ttft_ms, "itl": itl_ms}
    with PoolClient(url) as client:
        if as_json:
            pool, attainment = _look(client, objectives)
            write_json({**pool, "attainment": attainment})
        elif once or not sys.stdout.isatty():
            _print(client, objectives)
        else:
            _follow(client, objectives, interval)


@app.command()
def scale(
    devices: Annotated[int, typer.Argument(metavar="N", min=0, help="Devices that the pool shall have.")],
    url: PoolUrl = DEFAULT_URL,
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what it would move and bring, and change nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Resize a pool while it serves; returns when it serves on N devices.

    Needs the token that the pool was started with, in SLARAG_POOL_TOKEN. Asking for the size that it has changes
    nothing; 0 is for pools that may sleep.
    """
    with PoolClient(url) as client:
        told = client.scale(devices, dry_run=dry_run)
        found = told if dry_run else client.resize_status()
    if as_json:
        write_json(found)
    elif dry_run:
        write(_plan_line(found))
    else:
        write(f"{found['size']} devices after {1000 * found['seconds']:.0f} ms, {_mib(found['bytes_moved'])} moved")


def _look(client: PoolClient, objectives: dict[str, float], before: str = "") -> tuple[dict[str, Any], dict[str, Any]]:
    from ..backends.pool.prometheus import Samples

    names = {"ttft": "vllm:time_to_first_token_seconds", "itl": "vllm:inter_token_latency_seconds"}
    pool, now, then = client.pool(), Samples.read(client.metrics()), Samples.read(before)
    shares = {name: now.share_within(then, names[name], ms / 1000) for name, ms in objectives.items()}
    attainment = {name: {"objective_ms": objectives[name], "share": share} for name, share in shares.items()}
    return pool, attainment


def _print(client: PoolClient, objectives: dict[str, float]) -> None:
    from .pool_view import status_view

    show(*status_view(*_look(client, objectives)))


def _follow(client: PoolClient, objectives: dict[str, float], interval: float) -> None:
    from rich.console import Group
    from rich.live import Live

    from .pool_view import status_view

    before = client.metrics()
    with Live(console=console(sys.stdout), auto_refresh=False) as live:
        while True:
            live.update(Group(*status_view(*_look(client, objectives, before))), refresh=True)
            time.sleep(interval)


def _plan_line(plan: dict[str, Any]) -> str:
    saved = plan["predicted"]["wait_s_saved"]
    worth = "" if saved is None else f"; what waits now would wait {saved:.2f} s less"
    return (
        f"{plan['joining']} devices join, {plan['leaving']} leave; {plan['moved_experts']} experts and "
        f"{_mib(plan['bytes_to_move'])} move, at least {_mib(plan['bytes_lower_bound'])}{worth}"
    )


def _mib(count: int) -> str:
    return f"{count / (1 << 20):.1f} MiB"


app.add_typer(pool_bench.app, name="bench")
app.command("simulate")(pool_simulate.simulate)
