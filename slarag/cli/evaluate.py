"""`slarag eval`: measure profiles on a question file, and compare two such runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from ..sla.errors import ConfigurationError
from .interruption import resumable
from .options import AsJson, PlanText, parse_plan
from .streams import Advance, progress, say, write, write_json

if TYPE_CHECKING:
    from ..evals.formats import DataFormat
    from ..evals.settings import OnProgress, Progress

app = typer.Typer(help="Measure profiles on a question file, with 95 % intervals.", invoke_without_command=True)

DataFile = Annotated[Path | None, typer.Option("--data", metavar="FILE", help="A question file, or a BEIR folder.")]
OutFolder = Annotated[
    Path | None,
    typer.Option("--out", "-o", metavar="DIR", help="Receives the results; an interrupted run goes on there."),
]


@app.callback()
def evaluate(  # noqa: PLR0913 - one parameter an option
    context: typer.Context,
    *,
    data: DataFile = None,
    out: OutFolder = None,
    profile: Annotated[
        list[str] | None,
        typer.Option("--profile", "-p", metavar="PROFILE...", help="Shipped names or YAML files, one or several."),
    ] = None,
    data_format: Annotated[
        str, typer.Option("--format", help="auto, squad, hotpotqa, nq-open, beir or jsonl.", metavar="FORMAT")
    ] = "auto",
    corpus: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Documents, for questions that carry none.")
    ] = None,
    index: Annotated[
        Path | None,
        typer.Option("--index", "-i", metavar="DIR", help="Retrieve from this index instead of the file's passages."),
    ] = None,
    reading: Annotated[
        bool, typer.Option("--reading", help="Give each question its own passages; no retrieval.")
    ] = False,
    plan: PlanText = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="N", help="Ask N questions, drawn by the seed.")] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="S", help="Draws the questions and the intervals.")] = 0,
    concurrency: Annotated[int, typer.Option(min=1, metavar="N", help="Questions in flight.")] = 8,
    as_json: AsJson = False,
) -> None:
    """Measure profiles on a question file, with 95 % intervals.

    Writes report.json, items.jsonl and report.html. `slarag eval compare A B` compares two runs question by question.
    """
    if context.invoked_subcommand is not None:
        return
    if data is None or out is None:
        raise ConfigurationError("--data and --out are needed", remedy="see `slarag eval --help`")
    from ..evals.runner import run
    from ..evals.settings import EvalSettings

    settings = EvalSettings(
        data=data,
        out=out,
        profiles=tuple(profile or ["balanced"]),
        format=cast("DataFormat", data_format),
        corpus=corpus,
        index=index,
        reading=reading,
        plan=parse_plan(plan),
        limit=limit,
        seed=seed,
        concurrency=concurrency,
    )
    with resumable(f"what was measured is in {out}"), progress("evaluating") as advance:
        report = run(settings, on_progress=following(advance))
    if as_json:
        write_json(report.to_dict())
    else:
        write(report.table())
    say(f"wrote {out / 'report.json'}, items.jsonl and report.html")


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A folder that `slarag eval` wrote.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another one, over the same questions.")],
    profile_a: Annotated[
        str | None, typer.Option(metavar="PROFILE", help="The profile of A, if it measured several.")
    ] = None,
    profile_b: Annotated[
        str | None, typer.Option(metavar="PROFILE", help="The profile of B, if it measured several.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare two runs question by question: the difference of each metric with its 95 % interval."""
    from ..evals.comparison import compare as compare_runs

    comparison = compare_runs(a, b, profile_a=profile_a, profile_b=profile_b)
    if as_json:
        write_json(comparison.to_dict())
    else:
        write(comparison.table())


def following(advance: Advance) -> OnProgress:
    """The evaluation's progress as the bar's."""

    def follow(progress: Progress) -> None:
        advance(progress.done, progress.total, progress.stage)

    return follow
