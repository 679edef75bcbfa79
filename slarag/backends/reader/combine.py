"""From readings of single passages to one distribution over answers: pure functions."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...sla.evidence import Passage, Span
from ..protocol import AnswerKind, Candidate
from .reading import Reading, ReadSpan
from .store import ReaderSettings

_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')\]]*\s+(?=[\"'(\[]?[A-Z0-9])|\n\s*\n")
_LINK = re.compile(r"(?P<open>\[)[^\[\]]*(?P<target>\]\([^()\s]*\))")
_BLANK_LINE = re.compile(r"\n\s*\n")
_EDGE = " \t\n\r"
MOST_SPANS = 3
LIST_SHARE = 0.35
CLAUSE_WORDS = 3
"""Of the shortest span that says why; a shorter one is a name, which the rest of its sentence explains."""


@dataclass(frozen=True, slots=True)
class Combined:
    """Candidates by falling probability, the probability of no answer, and each passage's answerability."""

    candidates: tuple[Candidate, ...]
    no_answer: float
    answerability: dict[str, float]


def answer_logit(reading: Reading, settings: ReaderSettings) -> float:
    """The logit of "this passage answers the question"."""
    bias, span, head = settings.null_weights
    return bias + span * reading.span_log_odds + head * reading.answer_logit


def combine(
    kind: AnswerKind, passages: Sequence[Passage], readings: Sequence[Reading], settings: ReaderSettings, n_best: int
) -> Combined:
    """One distribution over the answers of all passages and "no answer".

    At most one answer is right: a span of passage p weighs prior(rank of p) * odds(p answers) * P(span | p answers),
    "no answer" weighs 1. Equal texts, case and space aside, add up. `passages` come best first.
    """
    logits = [answer_logit(reading, settings) for reading in readings]
    answerability = {p.passage_id: _sigmoid(logit) for p, logit in zip(passages, logits, strict=True)}
    odds = [(rank + 1) ** -settings.rank_exponent * math.exp(min(logit, 30.0)) for rank, logit in enumerate(logits)]
    total = 1.0 + sum(odds)
    shares = [weight / total for weight in odds]
    if kind == "yes_no":
        return Combined(_yes_or_no(passages, readings, shares)[:n_best], 1.0 / total, answerability)
    candidates = _span_candidates(passages, readings, shares)
    if kind == "sentence":
        candidates = _as_sentences(candidates, passages)
    elif kind == "list":
        candidates = _as_list(candidates)
    return Combined(tuple(candidates[:n_best]), 1.0 / total, answerability)


@dataclass(frozen=True, slots=True)
class _Found:
    """An answer where it was read. at: the rank of its passage, from 0."""

    weight: float
    at: int
    passage: Passage
    span: Span

    @property
    def text(self) -> str:
        return self.passage.text[self.span.start : self.span.end]

    @property
    def order(self) -> tuple[float, int, int]:
        """The likelier first, then the better passage, then the earlier place."""
        return -self.weight, self.at, self.span.start

    def meets(self, other: _Found) -> bool:
        """Whether both hold a character of the same document; neighbouring passages repeat each other's ends."""
        shift = self.passage.start - other.passage.start
        same = self.passage.document_id == other.passage.document_id
        return same and self.span.start + shift < other.span.end and other.span.start < self.span.end + shift


def _span_candidates(
    passages: Sequence[Passage], readings: Sequence[Reading], weights: Sequence[float]
) -> list[Candidate]:
    merged: dict[str, list[_Found]] = {}
    for rank, (passage, reading, weight) in enumerate(zip(passages, readings, weights, strict=True)):
        layout = _Layout(passage.text)
        for span in reading.spans:
            start, end = layout.trimmed(span.start, span.end)
            if start < end:
                place = Span(passage_id=passage.passage_id, start=start, end=end)
                found = _Found(weight * span.probability, rank, passage, place)
                merged.setdefault(_key(found.text), []).append(found)
    candidates = [_merge(entries) for entries in merged.values()]
    return sorted(candidates, key=lambda c: (-c.probability, c.text))


def _merge(entries: list[_Found]) -> Candidate:
    entries = sorted(entries, key=lambda entry: entry.order)
    cited: list[_Found] = []
    for entry in entries:
        if len(cited) < MOST_SPANS and not any(entry.meets(other) for other in cited):
            cited.append(entry)
    return Candidate(
        text=entries[0].text,
        spans=tuple(entry.span for entry in cited),
        probability=min(1.0, sum(entry.weight for entry in entries)),
    )


class _Layout:
    """Where a passage's Markdown links and blank lines stand, which no answer runs through."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._links = [(m.start(), m.start("target"), m.end()) for m in _LINK.finditer(text)]
        self._gaps = [match.span() for match in _BLANK_LINE.finditer(text)]

    def trimmed(self, start: int, end: int) -> tuple[int, int]:
        """The part of a span that can be an answer; an empty one if there is none.

        Where a link leads is a name of a file, which looks like an answer and is none; a link is held whole or not at
        all. Over a blank line stand two texts, such as a heading and what is under it: the longer one is the answer.
        """
        start, end = self._within_links(*self._longest_text(start, end))
        while start < end and self._text[start] in _EDGE:
            start += 1
        while start < end and self._text[end - 1] in _EDGE:
            end -= 1
        return start, end

    def _longest_text(self, start: int, end: int) -> tuple[int, int]:
        inside = [gap for gap in self._gaps if gap[0] < end and start < gap[1]]
        borders = [start, *(place for gap in inside for place in gap), end]
        return max(zip(borders[::2], borders[1::2], strict=True), key=lambda piece: piece[1] - piece[0])

    def _within_links(self, start: int, end: int) -> tuple[int, int]:
        for opening, target, stop in self._links:
            if target <= start < stop:
                return start, start
            if start < target < end < stop:
                end = target
            if start < target < end and opening < start:
                start = opening
            if start == opening and end <= target:
                start += 1
        return start, end


def _as_sentences(candidates: list[Candidate], passages: Sequence[Passage]) -> list[Candidate]:
    """Each sentence with what its spans weigh together, as its likeliest span where that is a clause.

    Readers differ on where a clause begins and ends, so each of its spans looks unlikely; that the sentence holds the
    answer does not. Of 45 "why" questions of SQuAD 2.0, whole sentences reach F1 39, clauses of them 72.
    """
    texts = {passage.passage_id: passage.text for passage in passages}
    grown: dict[Span, list[Candidate]] = {}
    for candidate in candidates:
        sentence = _sentence_around(texts[candidate.spans[0].passage_id], candidate.spans[0])
        grown.setdefault(sentence, []).append(candidate)
    said: dict[str, tuple[float, Span]] = {}
    for sentence, members in grown.items():
        place = members[0].spans[0] if len(members[0].text.split()) >= CLAUSE_WORDS else sentence
        key = _key(texts[place.passage_id][place.start : place.end])
        weight, first = said.get(key, (0.0, place))
        said[key] = weight + sum(member.probability for member in members), first
    ordered = sorted(said.values(), key=lambda item: (-item[0], texts[item[1].passage_id][item[1].start :]))
    return [
        Candidate(text=texts[span.passage_id][span.start : span.end], spans=(span,), probability=min(1.0, weight))
        for weight, span in ordered
    ]


def _as_list(candidates: list[Candidate]) -> list[Candidate]:
    if not candidates:
        return []
    top = candidates[0]
    items = [top]
    for candidate in candidates[1:]:
        likely = candidate.probability >= LIST_SHARE * top.probability
        if likely and not any(_overlap(candidate.spans[0], item.spans[0]) for item in items):
            items.append(candidate)
    if len(items) == 1:
        return candidates
    items.sort(key=lambda item: (item.spans[0].passage_id != top.spans[0].passage_id, item.spans[0].start))
    whole = Candidate(
        text=", ".join(item.text for item in items),
        spans=tuple(item.spans[0] for item in items),
        probability=min(1.0, sum(item.probability for item in items)),
    )
    return [whole, *candidates]


def _yes_or_no(
    passages: Sequence[Passage], readings: Sequence[Reading], shares: Sequence[float]
) -> tuple[Candidate, ...]:
    """Both words, each with the passage that says it most.

    What is read off a passage counts as a span of it would: a passage about something else says "yes" or "no" to the
    question as surely as one that answers it, and seldom that it says not enough.
    """
    if not passages:
        return ()
    says_yes = [reading.support[0] / max(1e-9, reading.support[0] + reading.support[1]) for reading in readings]
    candidates: list[Candidate] = []
    for text, said in (("yes", says_yes), ("no", [1.0 - yes for yes in says_yes])):
        weights = [share * p for share, p in zip(shares, said, strict=True)]
        best = max(range(len(passages)), key=lambda i: (weights[i], -i))
        evidence = _evidence(passages[best], readings[best])
        candidates.append(Candidate(text=text, spans=(evidence,), probability=min(1.0, sum(weights))))
    return tuple(sorted(candidates, key=lambda c: (-c.probability, c.text)))


def _evidence(passage: Passage, reading: Reading) -> Span:
    if not reading.spans:
        return Span(passage_id=passage.passage_id, start=0, end=len(passage.text))
    return _sentence_around(passage.text, _span_of(passage, reading.spans[0]))


def _sentence_around(text: str, span: Span) -> Span:
    """The sentence or sentences of `text` that `span` touches."""
    start, end = 0, len(text)
    for border in _SENTENCE_END.finditer(text):
        if border.end() <= span.start:
            start = border.end()
        elif border.start() >= span.end:
            end = border.start()
            break
    stop = start + len(text[start:end].rstrip())
    return Span(passage_id=span.passage_id, start=start, end=max(stop, span.end))


def _span_of(passage: Passage, span: ReadSpan) -> Span:
    return Span(passage_id=passage.passage_id, start=span.start, end=span.end)


def _overlap(one: Span, other: Span) -> bool:
    return one.passage_id == other.passage_id and one.start < other.end and other.start < one.end


def _key(text: str) -> str:
    return " ".join(text.lower().split()).strip(".,;:'\"()")


def _sigmoid(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))
