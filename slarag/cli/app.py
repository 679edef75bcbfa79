"""The application that holds the commands, and its entry point."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from . import ask, calibrate, demo, evaluate, explain, index, profile, serve, train
from .failures import guarded

HELP = """Ask your documents questions under a contract.

A profile states objectives for latency, cost, quality and risk; every question gets the plan that meets them under the
load of this moment, and every answer comes with its citations, a calibrated confidence, and a report per objective.
"""

app = typer.Typer(
    name="slarag",
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
app.command("index")(index.index)
app.command("ask")(ask.ask)
app.command("explain")(explain.explain)
app.add_typer(profile.app, name="profile")
app.command("calibrate")(calibrate.calibrate)
app.add_typer(evaluate.app, name="eval")
app.add_typer(train.app, name="train")
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"slarag {version('slarag')}")
        raise typer.Exit


@app.callback()
def _options(  # pyright: ignore[reportUnusedFunction] - typer calls it
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None: ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (the process's own by default) and return its exit code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    return guarded(lambda: app(evaluate.spread_profiles(given), prog_name="slarag", standalone_mode=False))
