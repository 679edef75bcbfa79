"""Readings made by hand."""

from __future__ import annotations

from slarag.agents.state import Reading
from slarag.backends.protocol import Candidate
from slarag.sla.errors import SlaragError
from slarag.sla.evidence import Passage
from tests.fakes import quote, reading

PASSAGE = Passage(passage_id="p", document_id="d", text="In July 1969 Armstrong walked on the Moon. Collins did not.")


def said(replica: int, *answers: tuple[str, float], at: float = 0.0, passage: Passage = PASSAGE) -> Reading:
    """What a replica answered, best first, with probabilities; at: when it finished."""
    return made(replica, *(quote(passage, text, probability) for text, probability in answers), at=at, passage=passage)


def made(replica: int, *candidates: Candidate, at: float = 0.0, passage: Passage = PASSAGE) -> Reading:
    """A reading with the candidates given."""
    return Reading(
        replica=replica,
        retrieval="hybrid",
        backend=f"m{replica}",
        passages=(passage,),
        result=reading(*candidates),
        finished_at=at,
    )


def broken(replica: int, error: SlaragError | None = None) -> Reading:
    """A reading without a result: a failure, or called off."""
    return Reading(
        replica=replica, retrieval="hybrid", backend=f"m{replica}", passages=(PASSAGE,), result=None, error=error
    )
