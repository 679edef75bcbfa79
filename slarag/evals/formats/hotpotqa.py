"""HotpotQA as published, distractor or full-wiki setting (Yang et al., 2018)."""

from __future__ import annotations

from pathlib import Path

from ...sla.errors import DataError
from ...sla.evidence import Passage
from ...sla.intents import Intent
from ..item import EvalItem, GoldPassage
from .dataset import document
from .fields import Fields, read_document

INTENT_OF_TYPE: dict[str, Intent] = {"bridge": "multi_hop", "comparison": "comparison"}


def read_hotpotqa(path: Path) -> list[EvalItem]:
    """The questions of an official `hotpot_*.json`."""
    rows = read_document(path)
    if not isinstance(rows, list):
        raise DataError(f"{path} is not a JSON array", remedy="give HotpotQA's JSON, or choose another --format")
    return [_question(Fields(row, file=path, where=f"[{at}]")) for at, row in enumerate(rows)]


def _question(row: Fields) -> EvalItem:
    passages = tuple(_paragraph(row, at, entry) for at, entry in enumerate(row.entries("context")))
    facts = {str(fact[0]) for fact in row.entries("supporting_facts") if isinstance(fact, list) and fact}
    return EvalItem(
        item_id=row.text("_id"),
        question=row.text("question"),
        answers=(row.text("answer"),) if "answer" in row else (),
        passages=passages,
        gold=gold_by_title(sorted(facts), passages),
        intent_hint=INTENT_OF_TYPE.get(row.text("type", default="")),
    )


def gold_by_title(titles: list[str], passages: tuple[Passage, ...]) -> tuple[GoldPassage, ...]:
    """Evidence named by titles, tied to the row's own passages where it has them."""
    own = {passage.title: passage for passage in passages}
    return tuple(
        GoldPassage(document_id=own[title].document_id, text=own[title].text, title=title)
        if title in own
        else GoldPassage(title=title)
        for title in titles
    )


def _paragraph(row: Fields, at: int, entry: object) -> Passage:
    match entry:
        case [str(title), [*sentences]]:
            return document(title, "".join(str(sentence) for sentence in sentences).strip())
        case _:
            raise row.error(f"field 'context'[{at}] is not [title, [sentences]]", "give HotpotQA's JSON unchanged")
