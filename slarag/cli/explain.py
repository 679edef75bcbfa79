"""`slarag explain`: the decision for a question, without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .options import AsJson, CalibrationFile, IndexFolder, ProfileName, Question, ReadingPool, read_question
from .streams import show, write, write_json

if TYPE_CHECKING:
    from ..sla.decision import Decision
    from ..sla.intents import IntentPrediction


def explain(
    question: Question,
    index: IndexFolder,
    profile: ProfileName = "balanced",
    calibration: CalibrationFile = None,
    *,
    pool: ReadingPool = None,
    as_json: AsJson = False,
    mermaid: Annotated[bool, typer.Option("--mermaid", help="Print only the plan's graph, in Mermaid.")] = False,
) -> None:
    """Show a question's plan without running it.

    With what it was chosen over, and which objective bound. Nothing is retrieved or read.
    """
    text = read_question(question)
    from ..sla.profile import load_profile

    contract = load_profile(profile)
    from ..engine import Engine

    with Engine.open(index, pool=pool, profile=contract, calibration=calibration) as engine:
        intent, decision = engine.classify(text), engine.explain(text)
    if as_json:
        write_json(
            {
                "question": text,
                "profile": contract.name,
                "intent": dict(intent.probabilities),
                "decision": decision.to_dict(),
            }
        )
    elif mermaid:
        from .graph_view import mermaid_text

        write(mermaid_text(decision.plan))
    else:
        _show(intent, decision)


def _show(intent: IntentPrediction, decision: Decision) -> None:
    from .decision_view import decision_view
    from .graph_view import graph_view

    show(decision_view(intent, decision), graph_view(decision.plan))
