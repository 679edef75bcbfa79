"""JSON Lines of questions, one object a line, packed or not.

`question` is needed; the rest is read where it is there:

* `id` (else the line's number); `answers` (strings), or `answer` (a string, a Boolean, a list) with `answer_aliases`,
  or `label` yes/no/maybe; `is_impossible`, or `answerable: false`.
* passages: `context` with `title`, or `contexts` as objects of `title` and `text` or `sentences`.
* evidence: `gold_titles`, `evidence_list` with titles, `is_supporting` on a context, `relevant` (document ids),
  `doc_id`, `source_docs`, or `corpus_id` with `references` that have `start_index` and `end_index`.
"""

from __future__ import annotations

from pathlib import Path

from ...sla.evidence import Passage
from ...sla.intents import Intent
from ..item import EvalItem, GoldPassage
from .dataset import document
from .fields import Fields, read_rows
from .hotpotqa import INTENT_OF_TYPE, gold_by_title

NULL_ANSWER = "insufficient information"

_INTENT_OF_QUESTION_TYPE: dict[str, Intent] = {"inference_query": "multi_hop", "comparison_query": "comparison"}


def read_jsonl(path: Path) -> list[EvalItem]:
    """The questions of a JSON Lines file."""
    return [_question(row) for row in read_rows(path)]


def _question(row: Fields) -> EvalItem:
    answers = _answers(row)
    is_impossible = _is_impossible(row, answers)
    passages = _passages(row)
    return EvalItem(
        item_id=row.text("id", default=row.where.replace(" ", "-")),
        question=row.text("question"),
        answers=() if is_impossible else answers,
        is_impossible=is_impossible,
        passages=passages,
        gold=_gold(row, passages),
        intent_hint=_intent_hint(row),
    )


def _answers(row: Fields) -> tuple[str, ...]:
    if "answers" in row:
        return tuple(dict.fromkeys(row.strings("answers")))
    answer = row.values.get("answer", row.values.get("label"))
    if answer is None:
        return ()
    if isinstance(answer, bool):
        return ("yes" if answer else "no",)
    if isinstance(answer, list):
        return row.strings("answer")
    name = "answer" if "answer" in row else "label"
    return tuple(dict.fromkeys((row.text(name), *row.strings("answer_aliases"))))


def _is_impossible(row: Fields, answers: tuple[str, ...]) -> bool:
    if row.flag("is_impossible", default=False) or not row.flag("answerable", default=True):
        return True
    if row.text("question_type", default="") == "null_query":
        return True
    return len(answers) == 1 and answers[0].strip(" .").lower() == NULL_ANSWER


def _passages(row: Fields) -> tuple[Passage, ...]:
    if "context" in row:
        return (document(_title(row), row.text("context")),)
    return tuple(document(_title(part), _context_text(part)) for part in row.objects("contexts"))


def _title(row: Fields) -> str:
    return row.text("title", default="").replace("_", " ")


def _context_text(part: Fields) -> str:
    return "".join(part.strings("sentences")).strip() if "sentences" in part else part.text("text")


def _gold(row: Fields, passages: tuple[Passage, ...]) -> tuple[GoldPassage, ...]:
    titles = list(dict.fromkeys(row.strings("gold_titles")))
    titles += [title for entry in row.objects("evidence_list") if (title := entry.text("title")) not in titles]
    if titles:
        return gold_by_title(titles, passages)
    if "references" in row:
        return tuple(_reference(row.text("corpus_id"), entry) for entry in row.objects("references"))
    names = _gold_documents(row)
    if names:
        return tuple(GoldPassage(document_id=name) for name in names)
    return tuple(GoldPassage(document_id=own.document_id, text=own.text) for own in _supporting(row, passages))


def _reference(document_id: str, entry: Fields) -> GoldPassage:
    return GoldPassage(document_id=document_id, start=entry.whole("start_index"), end=entry.whole("end_index"))


def _gold_documents(row: Fields) -> tuple[str, ...]:
    relevant = row.values.get("relevant")
    if isinstance(relevant, dict):
        return tuple(str(name) for name, grade in relevant.items() if grade)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    return row.strings("doc_id") or row.strings("source_docs")


def _supporting(row: Fields, passages: tuple[Passage, ...]) -> tuple[Passage, ...]:
    if len(passages) == 1:
        return passages
    parts = row.objects("contexts")
    return tuple(own for own, part in zip(passages, parts, strict=True) if part.flag("is_supporting", default=False))


def _intent_hint(row: Fields) -> Intent | None:
    if isinstance(row.values.get("answer"), bool):
        return "yes_no"
    known: dict[str, Intent] = {**INTENT_OF_TYPE, **_INTENT_OF_QUESTION_TYPE}
    return known.get(row.text("type", default="")) or known.get(row.text("question_type", default=""))
