"""An engine over a handful of passages, with real parts behind scripted models."""

from __future__ import annotations

from typing import Any

from langchain_core.retrievers import BaseRetriever

from slarag.backends.protocol import Backend
from slarag.engine import Engine
from slarag.retrievers.protocol import PassageRetriever
from slarag.sla.calibration import Calibration, Source
from slarag.sla.evidence import Passage
from slarag.sla.mapper import Mapper
from slarag.sla.objectives import Abstention, CostObjective, LatencyObjective, Objectives
from slarag.sla.plan import Plan
from slarag.sla.profile import Profile
from tests.fakes import FixedClassifier, PassageList, ScriptedBackend

QUESTION = "Who built the tower of Alder?"
CALIBRATION = Calibration(source=Source(kind="prior", description="nothing measured"), seconds_per_passage=0.01)
PASSAGES = tuple(
    Passage(passage_id=f"p{number:02}", document_id=f"d{number:02}", title=title, text=text)
    for number, (title, text) in enumerate(
        [
            ("Alder", "Mara Quill built the tower of Alder in 1871. It leans."),
            ("Alder tower", "The tower of Alder was built by Mara Quill. She was born in Osk."),
            ("Birch", "Jon Reed built the mill of Birch. The tower came later."),
            ("Osk", "Osk lies on the river Tarn. Mara Quill left it young."),
            ("Cedar", "Nobody knows who laid the bridge of Cedar."),
            ("Tarn", "The Tarn rises in the hills of Edd."),
            ("Elm", "Elm has a tower of iron."),
            ("Fir", "Fir has no tower at all."),
            ("Hazel", "Hazel is known for its nuts."),
            ("Ivy", "Ivy grows on the tower of Alder."),
        ]
    )
)


def engine(*backends: Backend, retriever: PassageRetriever | BaseRetriever | None = None, **parts: Any) -> Engine:
    """An engine with one plan, the prior calibration and a fixed intent, unless given others."""
    parts = {
        "classifier": FixedClassifier(),
        "calibration": CALIBRATION,
        "profile": profile(),
        "mapper": one_plan(),
        **parts,
    }
    return Engine.open(retriever or PassageList(PASSAGES), backend=backends or (ScriptedBackend(),), **parts)


def one_plan() -> Mapper:
    """A mapper that has nothing but the simplest plan to choose."""
    return Mapper((Plan(),), CALIBRATION)


def profile(
    *,
    deadline_ms: float | None = None,
    usd: float | None = None,
    abstain: bool = True,
    below: float = 0.3,
) -> Profile:
    """A profile that asks for quality, with the limits given."""
    return Profile(
        name="test",
        priority="quality",
        objectives=Objectives(
            latency=None if deadline_ms is None else LatencyObjective(p95_ms=deadline_ms, deadline_ms=deadline_ms),
            cost=None if usd is None else CostObjective(usd_per_query=usd),
        ),
        abstention=Abstention(allowed=abstain, below_confidence=below),
    )
