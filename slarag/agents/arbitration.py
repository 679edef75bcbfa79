"""Arbitration as pure functions: readings in, a ranking of distinct answers out, and when there are readings enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from ..backends.protocol import Candidate
from ..sla.matching import normalise_answer
from ..sla.plan import Arbitration
from .state import Contender, Reading, Settlement

Place = tuple[str, int, int]
MIN_OVERLAP = 0.5
_normal = lru_cache(maxsize=4096)(normalise_answer)


@dataclass(slots=True)
class Group:
    """Candidates of several readings that are the same answer, in the order they were met: by reading, then by rank."""

    members: list[tuple[Reading, Candidate]] = field(default_factory=list[tuple[Reading, Candidate]])

    @property
    def votes(self) -> int:
        """Readings whose best answer this is."""
        return len({reading.replica for reading, candidate in self.members if candidate is reading.best})

    @property
    def weight(self) -> float:
        """The summed probability, counting each reading's likeliest member."""
        by_replica: dict[int, float] = {}
        for reading, candidate in self.members:
            by_replica[reading.replica] = max(candidate.probability, by_replica.get(reading.replica, 0.0))
        return sum(by_replica.values())

    def contender(self, weight: float) -> Contender:
        """Its likeliest member; the first of equals."""
        reading, candidate = max(self.members, key=lambda member: member[1].probability)
        return Contender(candidate=candidate, reading=reading, weight=weight)


def settle(arbitration: Arbitration, readings: Sequence[Reading]) -> Settlement:
    """Rank the distinct answers of `readings`. Ties go to the lower replica.

    first: the order of arrival. majority: votes, then summed probability. confidence: summed probability over readings,
    where overlapping spans of a source count as one answer. jury: as confidence; the arbiter agent reorders it by the
    jurors.
    """
    answered = [reading for reading in readings if reading.best is not None]
    if arbitration == "first":
        answered.sort(key=lambda reading: reading.finished_at)
        contenders = [group.contender(group.weight) for group in _groups(answered[:1], same_text)]
    else:
        answered.sort(key=_replica)
        contenders = _ranked(arbitration, answered)
    agreement = agreement_with(contenders[0], answered) if contenders else 0.0
    return Settlement(ranking=tuple(contenders), agreement=agreement)


def suffices(arbitration: Arbitration, replicas: int) -> Callable[[Sequence[Reading]], bool]:
    """The rule that ends a race of `replicas`: no reading still to come can change the winner.

    A jury is not asked where most readings agree.
    """

    def rule(readings: Sequence[Reading]) -> bool:
        answered = [reading for reading in sorted(readings, key=_replica) if reading.best is not None]
        if len(readings) >= replicas or not answered:
            return False
        if arbitration == "first":
            return True
        if arbitration == "confidence":
            return _cannot_be_overtaken(_groups(answered, same_place), replicas - len(readings))
        return 2 * max(group.votes for group in _groups(answered, same_text)) > replicas

    return rule


def agreement_with(winner: Contender, readings: Sequence[Reading]) -> float:
    """The share of the readings with an answer whose best answer is the winner's, 0 to 1."""
    best = (winner.reading, winner.candidate)
    tops = [(reading, reading.best) for reading in readings if reading.best is not None]
    return sum(same_place(best, top) for top in tops) / len(tops) if tops else 0.0


def same_text(one: tuple[Reading, Candidate], other: tuple[Reading, Candidate]) -> bool:
    """Whether two candidates are equal when normalised."""
    return one[1].text == other[1].text or _normal(one[1].text) == _normal(other[1].text)


def same_place(one: tuple[Reading, Candidate], other: tuple[Reading, Candidate]) -> bool:
    """Whether two candidates are equal when normalised, or mostly the same characters of one source."""
    return same_text(one, other) or _overlap(_place(*one), _place(*other)) >= MIN_OVERLAP


def _replica(reading: Reading) -> int:
    return reading.replica


def _ranked(arbitration: Arbitration, readings: Sequence[Reading]) -> list[Contender]:
    groups = _groups(readings, same_text if arbitration == "majority" else same_place)
    weights = [float(group.votes) if arbitration == "majority" else group.weight for group in groups]
    order = sorted(range(len(groups)), key=lambda i: (-weights[i], -groups[i].weight))
    return [groups[i].contender(weights[i]) for i in order]


def _groups(
    readings: Sequence[Reading], same: Callable[[tuple[Reading, Candidate], tuple[Reading, Candidate]], bool]
) -> list[Group]:
    groups: list[Group] = []
    for reading in readings:
        for candidate in reading.result.candidates if reading.result else ():
            member = (reading, candidate)
            home = next((group for group in groups if same(group.members[0], member)), None)
            if home is None:
                groups.append(home := Group())
            home.members.append(member)
    return groups


def _cannot_be_overtaken(groups: Sequence[Group], outstanding: int) -> bool:
    weights = sorted((group.weight for group in groups), reverse=True)
    return weights[0] - (weights[1] if len(weights) > 1 else 0.0) > outstanding


def _place(reading: Reading, candidate: Candidate) -> Place | None:
    """Where a candidate that is a quote stands in its source: document, start, end; None for "yes" and the like."""
    for span in candidate.spans[:1]:
        for passage in reading.passages:
            if passage.passage_id == span.passage_id and passage.text[span.start : span.end] == candidate.text:
                return passage.document_id, passage.start + span.start, passage.start + span.end
    return None


def _overlap(one: Place | None, other: Place | None) -> float:
    """Shared characters over all characters of the two, 0 to 1."""
    if one is None or other is None or one[0] != other[0]:
        return 0.0
    shared = min(one[2], other[2]) - max(one[1], other[1])
    union = max(one[2], other[2]) - min(one[1], other[1])
    return max(0, shared) / union if union else 0.0
