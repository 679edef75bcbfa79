"""`slarag train`: make the reader's and the intent classifier's weights from one's own data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..sla.errors import ConfigurationError
from .interruption import resumable
from .options import AsJson
from .streams import say, write, write_json

if TYPE_CHECKING:
    from ..backends.training.recipe import Recipe

app = typer.Typer(help="Train the reader or the intent classifier.", no_args_is_help=True)


@app.command()
def reader(
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="What the recipe's paths are relative to.")],
    run: Annotated[Path, typer.Option("--run", metavar="DIR", help="Holds the run; a stopped one goes on there.")],
    recipe: Annotated[
        Path | None, typer.Option("--recipe", metavar="FILE", help="A YAML recipe; the shipped one by default.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Receives weights, scores and card; RUN/reader by default."),
    ] = None,
) -> None:
    """Train a reader by a recipe, score it, and write its weights with a model card."""
    from ..backends.training import recipe as recipes

    settings = recipes.load_recipe(recipe or Path(recipes.__file__).with_name("reader.yaml"))
    _check_files(settings, data)
    from ..backends.training.pipeline import make_reader

    target = out or run / "reader"
    with resumable(f"the run is in {run}"):
        make_reader(settings, data, run, target, report=say)
    write(str(target))


@app.command()
def intents(
    data: Annotated[Path, typer.Option("--data", metavar="DIR", help="The folder of the question files.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Receives the weights and the confusion matrix.")
    ],
    as_json: AsJson = False,
) -> None:
    """Train the intent classifier, scored on sources that it did not see."""
    from ..backends.training.intents import train_intents

    card = train_intents(data, out, report=say)
    if as_json:
        write_json(card)
    else:
        write(str(out))


def _check_files(recipe: Recipe, data: Path) -> None:
    from ..backends.training.written import source_files

    named = [source.path for source in recipe.sources] + recipe.unseen_claims
    named += [recipe.development] if recipe.development else []
    missing = [name for name in named if not any(file.is_file() for file in source_files(name, data))]
    if missing:
        raise ConfigurationError(
            f"{data} has no {missing[0]!r} ({len(missing)} of {len(named)} files of the recipe are missing)",
            remedy="give the folder that holds them with --data, or another --recipe",
        )
