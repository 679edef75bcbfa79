"""Questions that name their answers, "A or B": what they offer, and a reading held to it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from ..backends.protocol import AnswerResult, Candidate
from ..sla.cue_words import AUXILIARIES, COMPARING, PREPOSITIONS, WH
from ..sla.evidence import Passage, Span

MOST_WORDS = 8
"""Words of the longest option; a longer piece of a question is a clause."""
CANDIDATES = 20
"""Candidates to ask a reader for: its first few may all be figures that the options are compared by."""
_LEAST_LETTERS = 3

_WORD = re.compile(r"[^\W_]+(?:['’.&-][^\W_]+)*")
_OR = re.compile(r"(?<=\S)\s+or\s+", re.IGNORECASE)
_CLAUSE_END = re.compile(r"[,;:?]|--|\u2014")
_LIST_BORDER = re.compile(r",\s*")
_WIDER_BORDER = re.compile(r"[:;]\s*|--|\u2014")
_NAME_LINKS = frozenset(("of", "the", "and", "de", "da", "von", "van"))
_ARTICLES = frozenset(("the", "a", "an"))
_ASKS = re.compile(rf"^\W*(?:(?:{'|'.join(PREPOSITIONS)})\s+)?(?:{'|'.join((*WH, *AUXILIARIES))})\b", re.IGNORECASE)
_ASKS_AN_AMOUNT = re.compile(
    r"^\W*(?:how|when|why)\b|\b(?:what|which) (?:is the )?(?:year|date|number|age)\b", re.IGNORECASE
)
_COMPARING = frozenset(COMPARING) - {"or", "and", "between"}


@dataclass(frozen=True, slots=True)
class Mention:
    """Where a passage names an option, by its number; `is_whole` unless it gives only a part of the name."""

    option: int
    start: int
    end: int
    is_whole: bool


def options_of(question: str) -> tuple[str, ...]:
    """The answers that a question offers, in its order, without articles; empty if it offers none.

    Offered is what a comma or a colon sets off before the last "or" and what follows it ("Which is longer, the Volga or
    the Danube?"), or, where commas are left out and something is compared, the names on both sides of the "or".
    """
    borders = list(_OR.finditer(question))
    if not borders or not _ASKS.search(question) or _ASKS_AN_AMOUNT.search(question):
        return ()
    before, after = question[: borders[-1].start()], question[borders[-1].end() :]
    options = _set_off(before, after) or _names_beside(before, after)
    distinct = tuple(dict.fromkeys(filter(None, map(_without_article, options))))
    return distinct if len(distinct) > 1 else ()


def held_to(options: Sequence[str], passages: Sequence[Passage], result: AnswerResult) -> AnswerResult:
    """`result` with the candidates that name one of `options` only, each as the passage names it.

    An option's probability is what its candidates have together, of all that have one. A reader that names none of the
    options leaves the result as it is.
    """
    if not options:
        return result
    texts = {passage.passage_id: passage.text for passage in passages}
    named: dict[int, list[tuple[Candidate, Span, bool]]] = {}
    for candidate in result.candidates:
        span = candidate.spans[0]
        mention = _only_mention(options, texts.get(span.passage_id, ""), span)
        if mention is not None:
            place = Span(passage_id=span.passage_id, start=mention.start, end=mention.end)
            named.setdefault(mention.option, []).append((candidate, place, mention.is_whole))
    total = sum(candidate.probability for members in named.values() for candidate, _, _ in members)
    if total <= 0:
        return result
    share = (1.0 - result.no_answer) / total
    candidates = [_as_candidate(members, texts, share) for members in named.values()]
    return replace(result, candidates=tuple(sorted(candidates, key=lambda c: (-c.probability, c.text))))


def _as_candidate(members: Sequence[tuple[Candidate, Span, bool]], texts: dict[str, str], share: float) -> Candidate:
    ordered = sorted(members, key=lambda member: (not member[2], -member[0].probability))
    place = ordered[0][1]
    return Candidate(
        text=texts[place.passage_id][place.start : place.end],
        spans=(place,),
        probability=min(1.0, share * sum(candidate.probability for candidate, _, _ in members)),
    )


def _only_mention(options: Sequence[str], text: str, span: Span) -> Mention | None:
    """The mention of the one option that `span` touches; None if it touches none or several options."""
    touched = [m for m in _mentions(options, text) if m.start < span.end and span.start < m.end]
    if len({mention.option for mention in touched}) != 1:
        return None
    return max(touched, key=lambda mention: (mention.is_whole, -mention.start))


def _mentions(options: Sequence[str], text: str) -> Iterator[Mention]:
    names = [_Name.of(option, [other for other in options if other != option]) for option in options]
    words = list(_WORD.finditer(text))
    for number, name in enumerate(names):
        for run in name.runs(words, text):
            is_whole = name.is_said_by(run)
            if is_whole or name.is_told_by(run):
                yield Mention(number, run[0].start(), run[-1].end(), is_whole)


@dataclass(frozen=True, slots=True)
class _Name:
    """An option as a passage may name it. gaps: what stands between its words; telling: its words that no other has."""

    words: tuple[str, ...]
    gaps: frozenset[str]
    telling: tuple[str, ...]

    @classmethod
    def of(cls, option: str, others: Sequence[str]) -> _Name:
        found = list(_WORD.finditer(option))
        words = tuple(match.group().lower() for match in found)
        shared = {word.lower() for other in others for word in _WORD.findall(other)} | _NAME_LINKS | _ARTICLES
        telling = tuple(word for word in words if word not in shared and len(word) >= _LEAST_LETTERS)
        return cls(words, frozenset(_gap(a, b, option) for a, b in pairwise(found)) | {" ", "\n"}, telling)

    def runs(self, words: Sequence[re.Match[str]], text: str) -> Iterator[list[re.Match[str]]]:
        """The longest stretches of words of the name, perhaps with a middle name in between."""
        run: list[re.Match[str]] = []
        for before, word in zip([None, *words[:-1]], words, strict=True):
            if word.group().lower() not in self.words:
                continue
            if run and not self._joins(run[-1], before, word, text):
                yield run
                run = []
            run.append(word)
        if run:
            yield run

    def is_said_by(self, run: Sequence[re.Match[str]]) -> bool:
        """Whether the run holds all of the name, in its order."""
        said = iter(match.group().lower() for match in run)
        return all(word in said for word in self.words)

    def is_told_by(self, run: Sequence[re.Match[str]]) -> bool:
        """Whether a part of the name stands for it: half of what tells it apart, or the last of that, as a name."""
        said = {match.group().lower() for match in run if match.group()[0].isupper()}
        told = said & set(self.telling)
        return bool(told) and (2 * len(told) >= len(set(self.telling)) or self.telling[-1] in told)

    def _joins(self, last: re.Match[str], before: re.Match[str] | None, word: re.Match[str], text: str) -> bool:
        if before is last or before is None:
            return _gap(last, word, text) in self.gaps
        middle = before.group()[0].isupper() and before.group().lower() not in _ARTICLES
        return middle and _gap(last, before, text) == " " and _gap(before, word, text) in (" ", ". ")


def _gap(one: re.Match[str], other: re.Match[str], text: str) -> str:
    return text[one.end() : other.start()]


def _set_off(before: str, after: str) -> list[str]:
    """The options of "..., A, B or C"; what precedes the first border asks and is none."""
    items = _LIST_BORDER.split(before)
    if len(items) == 1:
        items = _WIDER_BORDER.split(before)
    offered = [item.strip() for item in items[1:] if item.strip()]
    last = _CLAUSE_END.split(after, maxsplit=1)
    if not offered or not all(_is_short(item) for item in (*offered[-1:], last[0])):
        return []
    goes_on = len(last) > 1 and bool(_WORD.search(last[1]))
    if goes_on and not (offered[-1][:1].isupper() or offered[-1].lower().startswith("the ")):
        return []
    kept = next((at for at in range(len(offered), 0, -1) if not _is_short(offered[at - 1])), 0)
    return [*offered[kept:], last[0]]


def _names_beside(before: str, after: str) -> list[str]:
    """The names on both sides of an "or" in a question that compares or offers a choice."""
    words = _WORD.findall(before.lower())
    compares = any(word in _COMPARING or word.endswith("est") for word in words) or (
        words[:1] and words[0] in AUXILIARIES
    )
    if not compares:
        return []
    left, right = _name_at_end(before), _name_at_start(after)
    return [left, right] if left and right else []


def _name_at_end(text: str) -> str:
    matches = list(_WORD.finditer(text))[1:]
    start = len(text)
    for match in reversed(matches):
        if not (_is_capital(match) or match.group().lower() in _NAME_LINKS) or "," in text[match.end() : start]:
            break
        start = match.start()
    return text[start:].strip()


def _name_at_start(text: str) -> str:
    end = 0
    for match in _WORD.finditer(text):
        if not (_is_capital(match) or match.group().lower() in _NAME_LINKS):
            break
        end = match.end()
    words = text[:end].split()
    while words and words[-1].lower() in _NAME_LINKS:
        words.pop()
    return " ".join(words)


def _is_capital(match: re.Match[str]) -> bool:
    return match.group()[0].isupper() or match.group()[0].isdigit()


def _is_short(item: str) -> bool:
    return 0 < len(_WORD.findall(item)) <= MOST_WORDS


def _without_article(option: str) -> str:
    words = list(_WORD.finditer(option))
    while words and words[0].group().lower() in _ARTICLES:
        words = words[1:]
    return option[words[0].start() : words[-1].end()] if words else ""
