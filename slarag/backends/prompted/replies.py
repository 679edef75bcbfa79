"""A model's JSON reply, read strictly: closed sets, numbers in range, quotes that really stand in the passages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from ...sla.evidence import Passage, Span
from ..protocol import AnswerKind, Candidate
from .quotes import locate

_THINKING = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_CODE_FENCE = re.compile(r"\A```(?:json)?\s*\n(.*)\n\s*```\Z", re.DOTALL)


class UnusableReplyError(ValueError):
    """A reply that cannot be used; its text says why."""


def _folded(label: object) -> object:
    return label.strip().lower() if isinstance(label, str) else label


YesNo = Annotated[Literal["yes", "no"], BeforeValidator(_folded)]
Label = Annotated[Literal["supported", "refuted", "not_enough"], BeforeValidator(_folded)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False, json_schema_extra={"additionalProperties": False})


class Quote(_Strict):
    """passage: its number in the prompt, from 1."""

    passage: int
    quote: str


class Entry(_Strict):
    """One answer with its evidence."""

    answer: str
    evidence: list[Quote]
    probability: float = Field(ge=0, le=1)


class YesNoEntry(Entry):
    """An answer out of a closed set."""

    answer: YesNo  # type: ignore[assignment]  # a closed set is narrower than str


class AnswerReply(_Strict):
    """The reply to an answer prompt."""

    answers: list[Entry]
    no_answer: float = Field(ge=0, le=1)


class YesNoReply(_Strict):
    """The reply to a yes-or-no prompt."""

    answers: list[YesNoEntry]
    no_answer: float = Field(ge=0, le=1)


class VerifyReply(_Strict):
    """The reply to a verify prompt."""

    label: Label
    probability: float = Field(ge=0, le=1)


Reply = TypeVar("Reply", bound=BaseModel)


def parse(reply: type[Reply], text: str) -> Reply:
    """`text` as a `reply`: one JSON object, bare or in one code fence, after at most one thinking block.

    Raises:
        UnusableReplyError: it is anything else.
    """
    bare = _THINKING.sub("", text, count=1).strip()
    fenced = _CODE_FENCE.match(bare)
    try:
        return reply.model_validate_json(fenced.group(1) if fenced else bare)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the reply"
        raise UnusableReplyError(f"{where}: {first['msg']}") from None


def read_answer(
    kind: AnswerKind, text: str, passages: Sequence[Passage], n_best: int
) -> tuple[tuple[Candidate, ...], float]:
    """Candidates by falling probability, and the probability of no answer; together they are at most 1.

    An answer without a quote that stands in its passage is dropped. When all were dropped the model's own belief
    decides: at "no answer" likelier than not there is none.

    Raises:
        UnusableReplyError: the reply is no such JSON object, or it believes in answers that were all fabricated.
    """
    reply = parse(YesNoReply if kind == "yes_no" else AnswerReply, text)
    found = _merged(_candidates(kind, reply.answers, passages))
    if kind == "list":
        found = _whole_list(found)
    if not found:
        if reply.answers and reply.no_answer < 0.5:
            raise UnusableReplyError(f"none of its {len(reply.answers)} answers is quoted from the passages")
        return (), 1.0
    total = max(1.0, reply.no_answer + sum(candidate.probability for candidate in found))
    scaled = [Candidate(text=c.text, spans=c.spans, probability=c.probability / total) for c in found]
    scaled.sort(key=lambda candidate: (-candidate.probability, candidate.text))
    return tuple(scaled[:n_best]), reply.no_answer / total


def read_verdict(text: str) -> tuple[float, float, float]:
    """The probabilities of supported, refuted and not enough; what the label leaves is shared by the other two.

    Raises:
        UnusableReplyError: the reply is no such JSON object, or its label is not in the closed set.
    """
    reply = parse(VerifyReply, text)
    rest = (1.0 - reply.probability) / 2
    shares = dict.fromkeys(("supported", "refuted", "not_enough"), rest) | {reply.label: reply.probability}
    return shares["supported"], shares["refuted"], shares["not_enough"]


def _candidates(kind: AnswerKind, entries: Sequence[Entry], passages: Sequence[Passage]) -> list[Candidate]:
    texts = {passage.passage_id: passage.text for passage in passages}
    found: list[Candidate] = []
    for entry in entries:
        inner = entry.answer if kind in {"span", "list"} else None
        spans = [span for quote in entry.evidence if (span := _span(quote, inner, passages)) is not None]
        answer = entry.answer.strip()
        if spans and inner is not None:
            answer = texts[spans[0].passage_id][spans[0].start : spans[0].end]
        if spans and answer:
            found.append(Candidate(text=answer, spans=tuple(dict.fromkeys(spans)), probability=entry.probability))
    return found


def _span(quote: Quote, inner: str | None, passages: Sequence[Passage]) -> Span | None:
    """Where the quote stands, or where `inner` stands within it."""
    if not 1 <= quote.passage <= len(passages):
        return None
    passage = passages[quote.passage - 1]
    place = locate(passage.text, quote.quote)
    if place is None or inner is None:
        return place and Span(passage_id=passage.passage_id, start=place[0], end=place[1])
    within = locate(passage.text[place[0] : place[1]], inner)
    return within and Span(passage_id=passage.passage_id, start=place[0] + within[0], end=place[0] + within[1])


def _merged(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Equal texts as one candidate, with all their spans and the greatest of their probabilities."""
    merged: dict[str, Candidate] = {}
    for candidate in candidates:
        earlier = merged.get(candidate.text, candidate)
        merged[candidate.text] = Candidate(
            text=candidate.text,
            spans=tuple(dict.fromkeys([*earlier.spans, *candidate.spans])),
            probability=max(earlier.probability, candidate.probability),
        )
    return list(merged.values())


def _whole_list(items: Sequence[Candidate]) -> list[Candidate]:
    """The items as one answer, in the model's order; it is believed as much as its least believed item."""
    if not items:
        return []
    return [
        Candidate(
            text=", ".join(item.text for item in items),
            spans=tuple(item.spans[0] for item in items),
            probability=min(item.probability for item in items),
        )
    ]
