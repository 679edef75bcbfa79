"""The application that holds the commands, and its entry point."""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import Annotated

import typer

from . import ask, calibrate, demo, evaluate, explain, index, pool, profile, serve, train
from .failures import DEBUG, guarded
from .spread import spread

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
app.add_typer(pool.app, name="pool")
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


def _settle_process() -> None:
    """Keep libraries from talking into the output, unless someone is looking for a fault."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if os.environ.get(DEBUG) == "1":
        logging.basicConfig(level=logging.INFO)
        return
    logging.getLogger().addHandler(logging.NullHandler())
    if not sys.warnoptions:
        warnings.simplefilter("ignore")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (the process's own by default) and return its exit code."""
    if arguments is None:
        _settle_process()
    given = list(sys.argv[1:] if arguments is None else arguments)
    return guarded(lambda: app(spread(given), prog_name="slarag", standalone_mode=False))
