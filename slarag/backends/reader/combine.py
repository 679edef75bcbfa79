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
_LINK_TARGET = re.compile(r"\]\([^()\s]*\)")
LIST_SHARE = 0.35


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
    if kind == "yes_no":
        return _yes_or_no(passages, readings, settings, answerability)
    odds = [(rank + 1) ** -settings.rank_exponent * math.exp(min(logit, 30.0)) for rank, logit in enumerate(logits)]
    total = 1.0 + sum(odds)
    candidates = _span_candidates(passages, readings, [weight / total for weight in odds])
    if kind == "sentence":
        candidates = _as_sentences(candidates, passages)
    elif kind == "list":
        candidates = _as_list(candidates)
    return Combined(tuple(candidates[:n_best]), 1.0 / total, answerability)


def _span_candidates(
    passages: Sequence[Passage], readings: Sequence[Reading], weights: Sequence[float]
) -> list[Candidate]:
    merged: dict[str, list[tuple[float, int, str, Span]]] = {}
    for rank, (passage, reading, weight) in enumerate(zip(passages, readings, weights, strict=True)):
        targets = [match.span() for match in _LINK_TARGET.finditer(passage.text)]
        for span in reading.spans:
            text = passage.text[span.start : span.end]
            # Where a Markdown link leads is a name of a file, which looks like an answer and is none.
            if text.strip() and not any(start < span.start < end for start, end in targets):
                entry = (weight * span.probability, -rank, text, _span_of(passage, span))
                merged.setdefault(_key(text), []).append(entry)
    candidates = [_merge(entries) for entries in merged.values()]
    return sorted(candidates, key=lambda c: (-c.probability, c.text))


def _merge(entries: list[tuple[float, int, str, Span]]) -> Candidate:
    entries = sorted(entries, key=lambda entry: (-entry[0], -entry[1], entry[3].start))
    return Candidate(
        text=entries[0][2],
        spans=tuple(entry[3] for entry in entries[:3]),
        probability=min(1.0, sum(entry[0] for entry in entries)),
    )


def _as_sentences(candidates: list[Candidate], passages: Sequence[Passage]) -> list[Candidate]:
    texts = {passage.passage_id: passage.text for passage in passages}
    grown: dict[Span, float] = {}
    for candidate in candidates:
        span = _sentence_around(texts[candidate.spans[0].passage_id], candidate.spans[0])
        grown[span] = grown.get(span, 0.0) + candidate.probability
    ordered = sorted(grown.items(), key=lambda item: (-item[1], item[0].passage_id, item[0].start))
    return [
        Candidate(text=texts[span.passage_id][span.start : span.end], spans=(span,), probability=min(1.0, probability))
        for span, probability in ordered
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
    passages: Sequence[Passage],
    readings: Sequence[Reading],
    settings: ReaderSettings,
    answerability: dict[str, float],
) -> Combined:
    weights = [
        (rank + 1) ** -settings.rank_exponent * (1.0 - reading.support[2]) for rank, reading in enumerate(readings)
    ]
    total = sum(weights)
    if not passages or total <= 0:
        return Combined((), 1.0, answerability)
    shares = [weight / total for weight in weights]
    yes = sum(
        share * reading.support[0] / max(1e-9, reading.support[0] + reading.support[1])
        for share, reading in zip(shares, readings, strict=True)
    )
    no_answer = min(reading.support[2] for reading in readings)
    best = max(range(len(passages)), key=lambda i: (shares[i], -i))
    span = _evidence(passages[best], readings[best])
    candidates = [
        Candidate(text=text, spans=(span,), probability=(1.0 - no_answer) * p)
        for text, p in (("yes", yes), ("no", 1.0 - yes))
    ]
    return Combined(tuple(sorted(candidates, key=lambda c: (-c.probability, c.text))), no_answer, answerability)


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
