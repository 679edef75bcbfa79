"""Checks of answers: spans, texts, probabilities, order."""

from __future__ import annotations

import asyncio
import math

from ...sla.evidence import Passage
from ..protocol import AnswerKind, AnswerRequest, AnswerResult, Candidate
from .case import LIGHTHOUSE, QUESTION, UNICODE, Case, answer_request, require
from .costs import check_cost


async def spans_stand_in_their_passages(case: Case) -> None:
    """Every span lies in a passage of the request, and a span answer is the passage's text at its first span."""
    result = await _checked(case, answer_request())
    if case.settings.answers_easy_questions:
        require(bool(result.candidates), f"no candidate for {QUESTION!r}, though a passage says it in plain words")


async def every_kind_is_answered(case: Case) -> None:
    """Each answer kind gives a well-formed result; a yes-or-no answer is one of the two words."""
    kinds: tuple[AnswerKind, ...] = ("span", "yes_no", "list", "sentence")
    for kind in kinds:
        await _checked(case, answer_request(kind=kind))


async def candidates_are_sorted_and_limited(case: Case) -> None:
    """Candidates come by falling probability, ties by text, at most n_best of them, no text twice."""
    for n_best in (1, 3):
        result = await _checked(case, answer_request(n_best=n_best))
        require(len(result.candidates) <= n_best, f"{len(result.candidates)} candidates, though n_best is {n_best}")
        texts = [candidate.text for candidate in result.candidates]
        require(len(set(texts)) == len(texts), f"the same text twice among {texts!r}")


async def equal_requests_get_equal_answers(case: Case) -> None:
    """The same request twice gives the same result, within the tolerance."""
    first, second = [await _checked(case, answer_request()) for _ in range(2)]
    _require_same(case, first, second)


async def no_passages_hold_no_answer(case: Case) -> None:
    """Without passages there are no candidates, and "no answer" is certain."""
    case.needs("answer")
    result = await case.backend.answer(AnswerRequest(question=QUESTION, passages=()))
    require(not result.candidates, f"candidates {result.candidates!r} without any passage")
    require(math.isclose(result.no_answer, 1.0), f"no_answer is {result.no_answer!r} without any passage")
    check_cost(case, result.usage, result.usd)


async def odd_passages_are_read(case: Case) -> None:
    """Characters outside the basic plane, combining marks, right-to-left script and blank texts are no trouble."""
    empty = Passage(passage_id="empty#0", document_id="empty", text="")
    blank = Passage(passage_id="blank#0", document_id="blank", text=" \n\t ")
    await _checked(case, answer_request(UNICODE, empty, blank, question="When did Zoë's café open? 🌍"))
    await _checked(case, answer_request(empty))


async def very_long_passages_are_read(case: Case) -> None:
    """A passage far over a model's window gives a result, with spans inside it."""
    filler = "The sea around the harbour was calm that year. "
    repeated = filler * (case.settings.long_passage_characters // len(filler))
    long = Passage(passage_id="long#0", document_id="long", text=repeated + LIGHTHOUSE.text)
    await _checked(case, answer_request(long))


async def concurrent_calls_do_not_mix(case: Case) -> None:
    """Calls at the same time give what the same calls give one after the other."""
    case.needs("answer")
    wanted = [_numbered(number) for number in range(case.settings.concurrency)]
    alone = [await case.backend.answer(request) for request in wanted]
    together = await asyncio.gather(*(case.backend.answer(request) for request in wanted))
    for request, first, second in zip(wanted, alone, together, strict=True):
        check_answer(case, request, second)
        _require_same(case, first, second)


CHECKS = (
    spans_stand_in_their_passages,
    every_kind_is_answered,
    candidates_are_sorted_and_limited,
    equal_requests_get_equal_answers,
    no_passages_hold_no_answer,
    odd_passages_are_read,
    very_long_passages_are_read,
    concurrent_calls_do_not_mix,
)


def check_answer(case: Case, request: AnswerRequest, result: AnswerResult) -> None:
    """The laws of every `AnswerResult`."""
    texts = {passage.passage_id: passage.text for passage in request.passages}
    require(0 <= result.no_answer <= 1, f"no_answer {result.no_answer!r} is no probability")
    for candidate in result.candidates:
        _check_candidate(request.kind, candidate, texts)
    order = [(-candidate.probability, candidate.text) for candidate in result.candidates]
    require(order == sorted(order), f"candidates are not by falling probability, ties by text: {order!r}")
    mass = result.no_answer + sum(candidate.probability for candidate in result.candidates)
    require(request.kind not in {"span", "yes_no"} or mass <= 1.001, f"{result!r} believes in {mass!r} answers")
    strangers = set(result.answerability) - set(texts)
    require(not strangers, f"answerability of passages {strangers!r} that were not asked about")
    wrong = [value for value in result.answerability.values() if not 0 <= value <= 1]
    require(not wrong, f"answerability {wrong!r} is no probability")
    check_cost(case, result.usage, result.usd)


async def _checked(case: Case, request: AnswerRequest) -> AnswerResult:
    case.needs("answer")
    result = await case.backend.answer(request)
    check_answer(case, request, result)
    return result


def _check_candidate(kind: AnswerKind, candidate: Candidate, texts: dict[str, str]) -> None:
    require(0 <= candidate.probability <= 1, f"{candidate!r} has no probability in [0, 1]")
    require(bool(candidate.text.strip()), f"{candidate!r} is blank")
    require(bool(candidate.spans), f"{candidate!r} has no span")
    for span in candidate.spans:
        inside = span.passage_id in texts and 0 <= span.start < span.end <= len(texts[span.passage_id])
        require(inside, f"{span!r} lies in none of the passages")
    first = candidate.spans[0]
    quoted = texts[first.passage_id][first.start : first.end]
    require(kind != "span" or quoted == candidate.text, f"{candidate.text!r} is not the text at its span, {quoted!r}")
    require(kind != "yes_no" or candidate.text in {"yes", "no"}, f"{candidate.text!r} is neither 'yes' nor 'no'")


def _require_same(case: Case, first: AnswerResult, second: AnswerResult) -> None:
    """Equal up to the tolerance; candidates closer than that may trade places."""
    slack = case.settings.probability_tolerance
    require(abs(first.no_answer - second.no_answer) <= slack, f"{first!r} and {second!r} differ in no_answer")
    mine = {candidate.text: candidate.probability for candidate in first.candidates}
    other = {candidate.text: candidate.probability for candidate in second.candidates}
    floor = min([*mine.values(), *other.values()], default=0.0) + slack
    for text in mine.keys() | other.keys():
        near = abs(mine.get(text, floor) - other.get(text, floor)) <= slack
        lowest = max(mine.get(text, 0.0), other.get(text, 0.0)) <= floor and not (text in mine and text in other)
        require(near or lowest, f"{first!r} and {second!r} differ about {text!r}")


def _numbered(number: int) -> AnswerRequest:
    text = f"Ship number {number} left the harbour with {number + 20} sailors in the year {1700 + number}."
    passage = Passage(passage_id=f"ship#{number}", document_id="ships", text=text)
    return answer_request(passage, question=f"How many sailors did ship number {number} leave the harbour with?")
