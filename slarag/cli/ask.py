"""`slarag ask`: one question, one answer with its report."""

from __future__ import annotations

from .options import (
    AsJson,
    CalibrationFile,
    IndexFolder,
    PlanText,
    ProfileName,
    Question,
    ReadingPool,
    parse_plan,
    read_question,
)
from .streams import show, write_json


def ask(
    question: Question,
    index: IndexFolder,
    profile: ProfileName = "balanced",
    plan: PlanText = None,
    calibration: CalibrationFile = None,
    *,
    pool: ReadingPool = None,
    as_json: AsJson = False,
) -> None:
    """Ask an index a question under a profile.

    An abstention is a result: it exits with 0.
    """
    text, forced = read_question(question), parse_plan(plan)
    from ..sla.profile import load_profile

    contract = load_profile(profile)
    from ..engine import Engine

    with Engine.open(index, pool=pool, profile=contract, calibration=calibration) as engine:
        answer = engine.ask(text, plan=forced)
    if as_json:
        write_json(answer.to_dict())
        return
    from .answer_view import answer_view

    show(answer_view(answer))
