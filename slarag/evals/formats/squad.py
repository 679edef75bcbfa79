"""SQuAD 1.1 and 2.0 as published (Rajpurkar et al., 2016 and 2018)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ...sla.evidence import Passage
from ..item import EvalItem, GoldPassage
from .dataset import document
from .fields import Fields, read_document


def read_squad(path: Path) -> list[EvalItem]:
    """The questions of an official `train-v*.json` or `dev-v*.json`."""
    top = Fields(read_document(path), file=path, where="the top level")
    if "data" not in top:
        raise top.error("field 'data' is missing", "give SQuAD's JSON, or choose another --format")
    return [item for article in top.objects("data") for item in _article(article)]


def _article(article: Fields) -> Iterator[EvalItem]:
    title = article.text("title", default="").replace("_", " ")
    for paragraph in article.objects("paragraphs"):
        passage = document(title, paragraph.text("context"))
        for question in paragraph.objects("qas"):
            yield _question(question, passage)


def _question(row: Fields, passage: Passage) -> EvalItem:
    answers = tuple(answer.text("text") for answer in row.objects("answers"))
    is_impossible = row.flag("is_impossible", default=False)
    if not answers and not is_impossible:
        raise row.error("no answer, and 'is_impossible' is not true", "give an answer, or set 'is_impossible' to true")
    return EvalItem(
        item_id=row.text("id"),
        question=row.text("question"),
        answers=() if is_impossible else tuple(dict.fromkeys(answers)),
        is_impossible=is_impossible,
        passages=(passage,),
        gold=(GoldPassage(document_id=passage.document_id, text=passage.text),),
    )
