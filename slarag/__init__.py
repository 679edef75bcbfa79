"""slarag: question answering under a contract.

The public names load on first use, so that importing the package costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .agents.events import (
        AnswerEvent,
        DecisionEvent,
        Event,
        IntentEvent,
        PassagesEvent,
        ReplicaEvent,
        VerdictEvent,
    )
    from .backends.chat import ChatBackend
    from .backends.openai_http import OpenAIBackend
    from .backends.pool_backend import PoolBackend
    from .backends.protocol import Backend, Price
    from .backends.reader.backend import EmbeddedReader
    from .backends.router import RouterBackend
    from .engine import Engine
    from .graph import QueryGraph, build_graph
    from .retrievers.foreign import ForeignRetriever
    from .retrievers.index import build_index
    from .retrievers.protocol import PassageRetriever
    from .sla.answer import Answer
    from .sla.calibration import Calibration
    from .sla.decision import Decision
    from .sla.errors import SlaragError
    from .sla.evidence import Citation, Passage, Span
    from .sla.intents import IntentPrediction
    from .sla.mapper import Mapper
    from .sla.plan import Plan
    from .sla.profile import Profile, load_profile, shipped_profiles
    from .sla.report import ObjectiveResult

__version__ = "0.1.0"

__all__ = [
    "Answer",
    "AnswerEvent",
    "Backend",
    "Calibration",
    "ChatBackend",
    "Citation",
    "Decision",
    "DecisionEvent",
    "EmbeddedReader",
    "Engine",
    "Event",
    "ForeignRetriever",
    "IntentEvent",
    "IntentPrediction",
    "Mapper",
    "ObjectiveResult",
    "OpenAIBackend",
    "Passage",
    "PassageRetriever",
    "PassagesEvent",
    "Plan",
    "PoolBackend",
    "Price",
    "Profile",
    "QueryGraph",
    "ReplicaEvent",
    "RouterBackend",
    "SlaragError",
    "Span",
    "VerdictEvent",
    "__version__",
    "build_graph",
    "build_index",
    "load_profile",
    "shipped_profiles",
]

_HOMES = {
    "agents.events": "AnswerEvent DecisionEvent Event IntentEvent PassagesEvent ReplicaEvent VerdictEvent",
    "backends.chat": "ChatBackend",
    "backends.openai_http": "OpenAIBackend",
    "backends.pool_backend": "PoolBackend",
    "backends.protocol": "Backend Price",
    "backends.reader.backend": "EmbeddedReader",
    "backends.router": "RouterBackend",
    "engine": "Engine",
    "graph": "QueryGraph build_graph",
    "retrievers.foreign": "ForeignRetriever",
    "retrievers.index": "build_index",
    "retrievers.protocol": "PassageRetriever",
    "sla.answer": "Answer",
    "sla.calibration": "Calibration",
    "sla.decision": "Decision",
    "sla.errors": "SlaragError",
    "sla.evidence": "Citation Passage Span",
    "sla.intents": "IntentPrediction",
    "sla.mapper": "Mapper",
    "sla.plan": "Plan",
    "sla.profile": "Profile load_profile shipped_profiles",
    "sla.report": "ObjectiveResult",
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_HOME_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
