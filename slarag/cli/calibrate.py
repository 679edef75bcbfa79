"""`slarag calibrate`: measure what every plan does, for the mapper to predict from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .evaluate import following
from .interruption import resumable
from .options import AsJson
from .streams import progress, say, write, write_json


def calibrate(  # noqa: PLR0913 - one parameter an option
    data: Annotated[
        list[Path],
        typer.Option("--data", metavar="FILE...", help="Question files, one or several; their passages serve."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The calibration file to write.")],
    *,
    work: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Index and trials; an interrupted calibration goes on there.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, metavar="N", help="Questions on which every plan runs, drawn by the seed.")
    ] = 200,
    confidence_questions: Annotated[
        int, typer.Option(min=0, metavar="N", help="Further questions, on a few plans each, for the confidence alone.")
    ] = 240,
    timed: Annotated[
        int, typer.Option(min=1, metavar="N", help="Questions on which every plan is also timed, alone.")
    ] = 4,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="Fit the confidence alone, to the confidence questions; the rest stays as in this calibration, a file "
            "or `shipped`.",
        ),
    ] = None,
    feedback: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE...", help="What Engine.feedback wrote: the confidence is fitted to it as well."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, metavar="S", help="Draws the questions and the folds.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Measure every plan on your questions.

    Writes the file from which the mapper predicts; use it with --calibration of ask, explain and serve.
    """
    from ..evals.calibration import calibrate as measure
    from ..evals.calibration_settings import CalibrationSettings
    from ..sla.calibration import Calibration

    settings = CalibrationSettings(
        data=tuple(data),
        out=out,
        work=work,
        limit=limit,
        confidence_questions=confidence_questions,
        timed=timed,
        kept=None if keep is None else Calibration.load(None if keep == "shipped" else Path(keep)),
        feedback=tuple(feedback or ()),
        seed=seed,
    )
    with resumable("what was measured is kept"), progress("calibrating") as advance:
        report = measure(settings, on_progress=following(advance))
    if as_json:
        write_json(report.to_dict())
    else:
        write(report.table())
    say(f"wrote {out}")
