"""`slarag explain`: the decision for a question, without running it."""

from __future__ import annotations

from .options import AsJson, IndexFolder, ProfileName, Question, read_question
from .streams import show, write_json


def explain(question: Question, index: IndexFolder, profile: ProfileName = "balanced", as_json: AsJson = False) -> None:
    """Show a question's plan without running it.

    With what it was chosen over, and which objective bound. Nothing is retrieved or read.
    """
    text = read_question(question)
    from ..sla.profile import load_profile

    contract = load_profile(profile)
    from ..engine import Engine

    with Engine.open(index, profile=contract) as engine:
        explained = engine.explain(text)
    if as_json:
        write_json(explained.to_dict())
        return
    from .decision_view import decision_view

    show(decision_view(explained))
